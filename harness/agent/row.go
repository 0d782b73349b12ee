package main

import "sync"

// rowRequest asks for many probes at once: a row of a matrix. AtOnce bounds how many are under way.
type rowRequest struct {
	Probes []probeRequest `json:"probes"`
	AtOnce int            `json:"at_once"`
}

// rowed holds the probes' results in their order.
type rowed struct {
	Probes []any `json:"probes"`
}

func row(r rowRequest) (any, error) {
	results := make([]any, len(r.Probes))
	errs := make([]error, len(r.Probes))
	room := make(chan struct{}, max(1, r.AtOnce))
	var done sync.WaitGroup
	for i, one := range r.Probes {
		room <- struct{}{}
		done.Add(1)
		go func() {
			defer done.Done()
			results[i], errs[i] = probe(one)
			<-room
		}()
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return rowed{results}, nil
}
