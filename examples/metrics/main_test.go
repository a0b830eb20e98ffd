package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func get(t *testing.T, node *p2pchat.Node, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler(node).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	require.Equal(t, 200, w.Code)
	return w.Body.String()
}

func TestCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, err := p2pchat.New(p2pchat.WithTransport(memnet.New(memnet.Config{}).Host()))
		require.NoError(t, err)
		defer node.Close()
		require.NoError(t, node.Join(t.Context()))
		for range 3 {
			_, err := node.Send(t.Context(), "lobby", []byte("counted"))
			require.NoError(t, err)
		}
		require.NoError(t, node.Wait(t.Context(), func(s p2pchat.Status) bool { return s.Digest.N == 3 }))

		var vars struct {
			P2PChat p2pchat.Stats `json:"p2pchat"`
		}
		require.NoError(t, json.Unmarshal([]byte(get(t, node, "/debug/vars")), &vars))
		require.EqualValues(t, 3, vars.P2PChat.Messages)
		require.Equal(t, 1, vars.P2PChat.Members)

		text := get(t, node, "/metrics")
		require.Contains(t, text, "p2pchat_messages 3\n")
		require.Contains(t, text, "p2pchat_members 1\n")
	})
}

func TestReasonsAreLabels(t *testing.T) {
	var out strings.Builder
	require.NoError(t, prometheus(&out, p2pchat.Stats{Drops: map[string]uint64{"version": 2, "malformed": 7}}))
	require.Contains(t, out.String(), "p2pchat_drops{reason=\"malformed\"} 7\np2pchat_drops{reason=\"version\"} 2\n")
}
