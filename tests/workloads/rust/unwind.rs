//! Allocations under a recursion, as a plain release build has them: without frame pointers.

use std::hint::black_box;
use std::io::{Read, Write};

#[inline(never)]
fn deeper(frames: u32, kept: &mut Vec<Box<[u8; 64]>>) -> u32 {
    if frames > 1 {
        black_box(deeper(frames - 1, kept)) + 1
    } else {
        for _ in 0..100 {
            kept.push(black_box(Box::new([1; 64])));
        }
        1
    }
}

fn main() {
    let depth = std::env::args()
        .nth(2)
        .and_then(|depth| depth.parse().ok())
        .unwrap_or(5);
    let mut kept = Vec::with_capacity(100);
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let _ = output.write_all(b"ready\n");
    let _ = output.flush();
    let mut byte = [0];
    let _ = input.read(&mut byte);
    deeper(depth, &mut kept);
    let _ = output.write_all(b"done\n");
    let _ = output.flush();
    while matches!(input.read(&mut byte), Ok(1)) {}
    black_box(kept);
}
