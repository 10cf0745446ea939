// Package arch holds no code, only a test: the shape of this module, as far as a
// machine can check it.
//
// The rules stand as tables in arch_test.go, and the first table is the diagram:
// which of our packages may import which, always downward. The second says who may
// reach the operating system, the dependencies and the sharper parts of the standard
// library. A package that is not in the diagram fails the test, so that somebody has
// to say where it belongs.
//
// The test also keeps files and functions short, package comments present, package and
// type names meaningful, atomics typed, and tests free of sleeps. It reads every Go file
// of the module, whatever its build constraints; nested modules and testdata directories
// are not its business.
package arch
