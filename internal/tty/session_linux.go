package tty

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Session is a program that runs on a terminal of its own.
type Session struct {
	Screen *Screen
	cmd    *exec.Cmd
	pty    *os.File
	ended  chan struct{} // closed when the program is gone and all is shown
	err    error
}

// Start starts a program on a new terminal, which is its controlling one.
func Start(cmd *exec.Cmd, width, height int) (*Session, error) {
	pty, tty, err := open()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	s := &Session{Screen: NewScreen(width, height), cmd: cmd, pty: pty, ended: make(chan struct{})}
	if err := s.resize(width, height); err != nil {
		pty.Close()
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = tty, tty
	if cmd.Stderr == nil {
		cmd.Stderr = tty
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		pty.Close()
		return nil, err
	}
	go s.read()
	return s, nil
}

// open opens both ends of a new pseudo-terminal.
func open() (pty, tty *os.File, err error) {
	pty, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	number := -1
	err = control(pty, func(fd int) (err error) {
		if number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	if err == nil {
		tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		pty.Close()
		return nil, nil, err
	}
	return pty, tty, nil
}

// control calls f with the file's descriptor, and leaves the file in the hands
// of the runtime's poller.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

func (s *Session) resize(width, height int) error {
	return control(s.pty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)})
	})
}

// Resize gives the terminal another size, of which the program is told.
func (s *Session) Resize(width, height int) error {
	s.Screen.Resize(width, height)
	return s.resize(width, height)
}

func (s *Session) read() {
	defer close(s.ended)
	_, _ = io.Copy(s.Screen, s.pty) // fails when the last writer is gone
	s.err = s.cmd.Wait()
	s.pty.Close()
}

// Type types text. The Enter key is \r.
func (s *Session) Type(text string) error {
	_, err := io.WriteString(s.pty, text)
	return err
}

// Await waits until ok is true of what is shown. Its error has the screen.
func (s *Session) Await(patience time.Duration, ok func(text string) bool) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		text, changed := s.Screen.watch()
		if ok(text) {
			return nil
		}
		select {
		case <-changed:
		case <-s.ended:
			if text, _ := s.Screen.watch(); ok(text) {
				return nil
			}
			return fmt.Errorf("the program has ended (%v) and shows:\n%s", s.cmd.ProcessState, s.Screen.Text())
		case <-limit.C:
			return fmt.Errorf("after %v it shows:\n%s", patience, text)
		}
	}
}

// Signal sends the program a signal.
func (s *Session) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// PID is the program's process.
func (s *Session) PID() int { return s.cmd.Process.Pid }

// Exit waits for the end of the program and returns its exit code, -1 if a
// signal ended it.
func (s *Session) Exit(patience time.Duration) (int, error) {
	select {
	case <-s.ended:
	case <-time.After(patience):
		return 0, fmt.Errorf("it still runs after %v and shows:\n%s", patience, s.Screen.Text())
	}
	if exit := (*exec.ExitError)(nil); s.err != nil && !errors.As(s.err, &exit) {
		return 0, s.err
	}
	return s.cmd.ProcessState.ExitCode(), nil
}

// Close ends the program, if it still runs.
func (s *Session) Close() {
	_ = s.Signal(os.Kill)
	<-s.ended
}

// HangUp takes the terminal away, as closing its window does.
func (s *Session) HangUp() { s.pty.Close() }
