package transporttest_test

import "testing"

// The example keeps the contract, too.
func TestCounting(t *testing.T) { runCounting(t) }
