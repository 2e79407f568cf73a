// Keeps memory that Go's own runtime gives out, and gives up some that its collector takes back.
package main

import (
	"bufio"
	"fmt"
	"os"
)

const size = 1 << 20

var kept [][]byte

//go:noinline
func keep() {
	block := make([]byte, size)
	for i := range block {
		block[i] = 1
	}
	kept = append(kept, block)
}

//go:noinline
func giveUp() int {
	block := make([]byte, 64<<10)
	block[len(os.Args)] = 1
	return len(block)
}

func main() {
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	in.ReadByte()
	for i := 0; i < 64; i++ {
		keep()
		giveUp()
	}
	fmt.Println("done")
	in.ReadByte()
	in.ReadByte()
	os.Exit(len(kept) - 64)
}
