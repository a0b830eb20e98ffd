// Package causaltest checks implementations of causal.Log and causal.Store
// against their contracts.
//
// Another Log is held to the contract by
//
//	func TestLog(t *testing.T) {
//		causaltest.RunLog(t, func(cfg causal.Config) (causal.Log, error) { return mylog.New(cfg) })
//	}
//
// and another Store by
//
//	func TestStore(t *testing.T) {
//		causaltest.RunStore(t, func(t *testing.T) func() (causal.Store, error) {
//			path := filepath.Join(t.TempDir(), "history")
//			return func() (causal.Store, error) { return mystore.Open(path) }
//		})
//	}
package causaltest
