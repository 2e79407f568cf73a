// C memory that a Go program allocates: directly, and from a Go function that C has called back. The
// goroutine's stack is left at each call of C, and taken up again at each call back.
package main

/*
#include <stdlib.h>

extern void goBack(int);

static void c_put(int n) { char *volatile p = malloc(n); if (p) *p = 1; }
static void c_call(int n) { goBack(n); __asm__ volatile(""); }
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
)

const blocks = 100

//go:noinline
func handleRequest() { C.c_put(1000) }

//go:noinline
func serve() { handleRequest() }

//export goBack
func goBack(n C.int) { answer(n) }

//go:noinline
func answer(n C.int) { C.c_put(n) }

//go:noinline
func callBack() { C.c_call(3000) }

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	in.ReadString('\n')
	for i := 0; i < blocks; i++ {
		serve()
		callBack()
	}
	fmt.Println("done")
	in.ReadString('\n')
}
