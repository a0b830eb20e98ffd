//go:build !race && unix

package lab

const raceDetector = false
