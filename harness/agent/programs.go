package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// programs are the machine's daemons by name, and the short commands run beside them.
type programs struct {
	onExit func(exited)
	spawns chan func()

	mu      sync.Mutex
	running map[string]*exec.Cmd
}

type exited struct {
	Name string `json:"name"`
	Code int    `json:"code"` // minus the signal's number when one ended it
}

type startRequest struct {
	Name string            `json:"name"`
	Argv []string          `json:"argv"`
	Env  map[string]string `json:"env"`
	Log  string            `json:"log"` // appended to, standard output and error
}

type started struct {
	PID int `json:"pid"`
}

// newPrograms keeps one operating system thread for starting programs: the parent-death signal that takes a
// program along when we are killed is bound to the thread that forked it, so that thread must never end.
func newPrograms(onExit func(exited)) *programs {
	p := &programs{onExit: onExit, spawns: make(chan func()), running: map[string]*exec.Cmd{}}
	go func() {
		runtime.LockOSThread()
		for spawn := range p.spawns {
			spawn()
		}
	}()
	return p
}

func (p *programs) spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	p.spawns <- func() { done <- cmd.Start() }
	return <-done
}

func environ(extra map[string]string) []string {
	env := os.Environ()
	for k, v := range extra {
		env = append(env, k+"="+v)
	}
	return env
}

func (p *programs) start(r startRequest) (any, error) {
	if len(r.Argv) == 0 {
		return nil, errors.New("argv is empty")
	}
	log, err := os.OpenFile(r.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(r.Env), log, log

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[r.Name] != nil {
		return nil, fmt.Errorf("%s is already running", r.Name)
	}
	if err := p.spawn(cmd); err != nil {
		return nil, err
	}
	p.running[r.Name] = cmd
	go func() {
		cmd.Wait()
		p.mu.Lock()
		delete(p.running, r.Name)
		p.mu.Unlock()
		p.onExit(exited{r.Name, exitCode(cmd)})
	}()
	return started{cmd.Process.Pid}, nil
}

func exitCode(cmd *exec.Cmd) int {
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return -int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

type signalRequest struct {
	Name   string `json:"name"`
	Signal int    `json:"signal"`
}

func (p *programs) signal(r signalRequest) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.running[r.Name]
	if cmd == nil {
		return nil, fmt.Errorf("%s is not running", r.Name)
	}
	return struct{}{}, syscall.Kill(-cmd.Process.Pid, syscall.Signal(r.Signal))
}

type execRequest struct {
	Argv      []string          `json:"argv"`
	Env       map[string]string `json:"env"`
	Stdin     string            `json:"stdin"`
	TimeoutMS int               `json:"timeout_ms"`
}

type completed struct {
	Code     int    `json:"code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
	TimedOut bool   `json:"timed_out"`
}

// exec runs a command to its end, or to its timeout, when its whole process group is killed.
func (p *programs) exec(r execRequest) (any, error) {
	if len(r.Argv) == 0 {
		return nil, errors.New("argv is empty")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.TimeoutMS)*time.Millisecond)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ(r.Env), bytes.NewBufferString(r.Stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second // a grandchild that holds our pipes must not hold us
	if err := p.spawn(cmd); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	cmd.Wait()
	timedOut := !stop()
	return completed{exitCode(cmd), stdout.String(), stderr.String(), timedOut}, nil
}

func (p *programs) stopAll(grace time.Duration) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		p.mu.Lock()
		for _, cmd := range p.running {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT)
			syscall.Kill(-cmd.Process.Pid, sig)
		}
		p.mu.Unlock()
		for deadline := time.Now().Add(grace); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			p.mu.Lock()
			left := len(p.running)
			p.mu.Unlock()
			if left == 0 {
				return
			}
		}
	}
}

// superviseAsInit never returns. As process 1 of a container we must reap every orphan, and reaping would
// steal the exit codes of our own programs; so the agent proper runs as a child and this process only reaps,
// passes signals on, and ends with the child.
func superviseAsInit() {
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := child.Start(); err != nil {
		fail(err)
	}
	go func() {
		for s := range signals {
			child.Process.Signal(s)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if pid == child.Process.Pid {
			os.Exit(status.ExitStatus())
		}
		if err == syscall.ECHILD {
			os.Exit(0)
		}
	}
}
