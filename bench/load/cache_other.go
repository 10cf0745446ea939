//go:build !(linux && (amd64 || arm64))

package load

import "errors"

func dropCache(string) error { return errors.New("this system cannot be made to forget a file") }
