package wal

import (
	"sync"
	"time"
)

// hookRunner calls hooks on a goroutine that runs while there are any to call.
type hookRunner struct {
	hooks Hooks

	mu struct {
		sync.Mutex
		calls   []func()
		running bool
	}
	idle sync.Cond // on mu
}

// call has f called after all hooks called before. It never blocks.
func (h *hookRunner) call(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.calls = append(h.mu.calls, f)
	if !h.mu.running {
		h.mu.running = true
		go h.run()
	}
}

func (h *hookRunner) run() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.mu.calls) > 0 {
		f := h.mu.calls[0]
		h.mu.calls = h.mu.calls[1:]
		h.mu.Unlock()
		f()
		h.mu.Lock()
	}
	h.mu.running = false
	h.idle.Broadcast()
}

// wait returns when all hooks have been called.
func (h *hookRunner) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.mu.running {
		h.idle.Wait()
	}
}

func (h *hookRunner) recovered(r Report) {
	if f := h.hooks.Recovered; f != nil {
		h.call(func() { f(r) })
	}
}

func (h *hookRunner) rotated(e *extent) {
	if f := h.hooks.Rotated; f != nil {
		info := e.info()
		h.call(func() { f(info) })
	}
}

func (h *hookRunner) sealed(e *extent) {
	if f := h.hooks.Sealed; f != nil {
		info := e.info()
		h.call(func() { f(info) })
	}
}

func (h *hookRunner) truncated(first, last LSN) {
	if f := h.hooks.Truncated; f != nil {
		h.call(func() { f(first, last) })
	}
}

func (h *hookRunner) scrubbed(e *extent) {
	if f := h.hooks.Scrubbed; f != nil {
		info := e.info()
		h.call(func() { f(info) })
	}
}

func (h *hookRunner) damaged(err error) {
	if f := h.hooks.Damaged; f != nil {
		h.call(func() { f(err) })
	}
}

func (h *hookRunner) slowSync(took time.Duration) {
	if f := h.hooks.SlowSync; f != nil {
		h.call(func() { f(took) })
	}
}

func (h *hookRunner) noSpace(err error) {
	if f := h.hooks.NoSpace; f != nil {
		h.call(func() { f(err) })
	}
}

func (h *hookRunner) failed(err error) {
	if f := h.hooks.Failed; f != nil {
		h.call(func() { f(err) })
	}
}
