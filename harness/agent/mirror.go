package main

import (
	"net"
	"net/http"
	"net/http/httputil"
)

// mirror serves HTTP on a free port of loopback and answers each request with its own head, for what stands before a
// program on this machine and tells it who asks. It ends with the agent.
func mirror(struct{}) (any, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head, err := httputil.DumpRequest(r, false)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Write(head)
	}))
	return listening{listener.Addr().(*net.TCPAddr).Port}, nil
}
