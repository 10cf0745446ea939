//go:build !race

package fuzz_test

const damageRace = false
