// Package transport defines how the frames of a group travel. Its
// implementations are in the packages below it: lan for real networks, and
// memnet for tests and simulations.
package transport
