module github.com/seed3918b8df/tidemark/fuzz/model

go 1.25.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/seed3918b8df/tidemark v0.0.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
)

replace github.com/seed3918b8df/tidemark => ../..
