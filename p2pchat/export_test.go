package p2pchat

import "time"

// SetWall gives a node another time of day, before Join.
func (n *Node) SetWall(wall func() time.Time) { n.watch.wall = wall }

var Succession = succession
