package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
)

// probeICMP sends echo requests from an unprivileged ping socket (net.ipv4.ping_group_range; a container's
// root is in it), where the kernel fills in identifier and checksum and hands us only our own replies.
// The random payload proves that a reply is to our request.
func probeICMP(ctx context.Context, target netip.Addr) error {
	c, err := pingSocket(target)
	if err != nil {
		return err
	}
	defer c.Close()
	want, request := byte(echoReply4), byte(echoRequest4)
	if target.Is6() {
		want, request = echoReply6, echoRequest6
	}
	payload := make([]byte, 16)
	rand.Read(payload)
	to := &net.UDPAddr{IP: target.AsSlice()}
	var last error = context.DeadlineExceeded
	for sequence := uint16(1); ctx.Err() == nil; sequence++ {
		if _, err := c.WriteTo(echo(request, sequence, payload), to); err != nil {
			last = err
		}
		if awaitReply(ctx, c, want, payload) {
			return nil
		}
	}
	return last
}

func echo(kind byte, sequence uint16, payload []byte) []byte {
	packet := make([]byte, 8, 8+len(payload))
	packet[0] = kind
	binary.BigEndian.PutUint16(packet[6:], sequence)
	return append(packet, payload...)
}

// awaitReply reads for one resend interval; everything that is not the reply we wait for is dropped.
func awaitReply(ctx context.Context, c net.PacketConn, want byte, payload []byte) bool {
	until := time.Now().Add(resend)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	c.SetReadDeadline(until)
	buf := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			time.Sleep(time.Until(until)) // an error such as EHOSTUNREACH comes early: keep the pace
			return false
		}
		if n >= 8 && buf[0] == want && bytes.Equal(buf[8:n], payload) {
			return true
		}
	}
}

func pingSocket(target netip.Addr) (net.PacketConn, error) {
	domain, protocol := syscall.AF_INET, syscall.IPPROTO_ICMP
	if target.Is6() {
		domain, protocol = syscall.AF_INET6, syscall.IPPROTO_ICMPV6
	}
	fd, err := syscall.Socket(domain, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, os.NewSyscallError("ping socket", err)
	}
	f := os.NewFile(uintptr(fd), "ping")
	defer f.Close()
	return net.FilePacketConn(f)
}
