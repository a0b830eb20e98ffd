package membership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestProfiles(t *testing.T) {
	ms := time.Millisecond
	require.Equal(t, Timing{H: 500 * ms, TProbe: 1200 * ms, TElect: 2000 * ms, W: 500 * ms, TMember: 2000 * ms, JoinWin: 600 * ms,
		RTO: 50 * ms, MinRTO: 20 * ms, MergeGap: 100 * ms, JoinBatch: 20 * ms, Witnesses: 3, JoinMaxTry: 4}, Default())
	require.Equal(t, Timing{H: 5000 * ms, TProbe: 8000 * ms, TElect: 10000 * ms, W: 2000 * ms, TMember: 15000 * ms, JoinWin: 2000 * ms,
		RTO: 200 * ms, MinRTO: 50 * ms, MergeGap: 250 * ms, JoinBatch: 50 * ms, Witnesses: 3, JoinMaxTry: 4}, Classic())
	require.Equal(t, Default(), For(500*ms, 2000*ms))
	require.Equal(t, Classic(), For(5000*ms, 10000*ms))
}

// TestForIsValid: any heartbeat with a time-out of twice as much or more makes
// a valid profile, whose election is never due after one lost beat.
func TestForIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := time.Duration(rapid.Int64Range(int64(10*time.Millisecond), int64(time.Minute)).Draw(t, "heartbeat"))
		p := For(h, h*time.Duration(rapid.IntRange(20, 200).Draw(t, "tenths"))/10)
		require.NoError(t, p.Validate())
		require.GreaterOrEqual(t, p.TElect, 2*p.H)
	})
}

func TestValidateReportsEveryFault(t *testing.T) {
	for name, spoil := range map[string]func(p *Timing){
		"H is 0s":                           func(p *Timing) { p.H = 0 },
		"more than an hour":                 func(p *Timing) { p.H = 2 * time.Hour },
		"MinRTO is 0s":                      func(p *Timing) { p.MinRTO = 0 },
		"less than MinRTO":                  func(p *Timing) { p.RTO = p.MinRTO / 2 },
		"more than H":                       func(p *Timing) { p.RTO = 2 * p.H },
		"less than two RTO (200ms): no ver": func(p *Timing) { p.W = p.RTO },
		"every beat would be late":          func(p *Timing) { p.TProbe = p.H },
		"one lost beat would do":            func(p *Timing) { p.TElect = p.H },
		"less than TProbe + W":              func(p *Timing) { p.TElect = p.TProbe },
		"TMember (5s) is less":              func(p *Timing) { p.TMember = p.H },
		"JoinWin (0s)":                      func(p *Timing) { p.JoinWin = 0 },
		"MergeGap (-1ns)":                   func(p *Timing) { p.MergeGap = -1 },
		"JoinBatch (-1ns)":                  func(p *Timing) { p.JoinBatch = -1 },
		"Witnesses is 17":                   func(p *Timing) { p.Witnesses = 17 },
		"JoinMaxTry is -1":                  func(p *Timing) { p.JoinMaxTry = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := Classic()
			spoil(&p)
			err := p.Validate()
			require.ErrorIs(t, err, ErrConfig)
			require.ErrorContains(t, err, name)
		})
	}
	var zero Timing
	zero.Witnesses = 99
	err := zero.Validate()
	require.ErrorContains(t, err, "H is 0s")
	require.ErrorContains(t, err, "Witnesses is 99", "all faults at once")
}

func TestNewCoordinatedReportsEveryFault(t *testing.T) {
	_, err := NewCoordinated(Config{Self: Member{Inc: maxCtr, Name: string(make([]byte, MaxName+1))}, Timing: Timing{H: 1}})
	require.ErrorIs(t, err, ErrConfig)
	for _, part := range []string{"Self.Key", "Self.Inc", "Self.Name", "H is 1ns"} {
		require.ErrorContains(t, err, part)
	}
	m, err := NewCoordinated(Config{Self: Member{Key: keyOf(1)}})
	require.NoError(t, err)
	require.Equal(t, Default(), m.t)
}
