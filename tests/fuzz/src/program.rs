//! Makes a program of the fuzzer's bytes: code that no call frame information describes, and symbols for
//! some of it. Also used by the tests of the unwind tables, which read the same corpus.

/// Symbols at most.
const MAX_FUNCTIONS: usize = 64;
/// Bytes of an input that are a symbol.
const FUNCTION: usize = 4;
const NAMES: &[u8] = b"\0f\0f.cold\0__clone\0";
/// Where these names begin.
const NAMED: [u32; 4] = [0, 1, 3, 10];
/// Bytes of the headers, behind which the code lies.
const HEADERS: u64 = 64 + 56;
/// The address of the file's first byte.
const BASE: u64 = 0x1000;

/// An ELF file. The input is: how many functions there are; for each where it begins in the code, 2
/// bytes, its size, and which name it has; where the program begins, 2 bytes; and the code. `None`
/// where it is shorter than that.
#[must_use]
pub fn program(input: &[u8]) -> Option<Vec<u8>> {
    let (&count, rest) = input.split_first()?;
    let (functions, rest) =
        rest.split_at_checked(FUNCTION * (usize::from(count) % MAX_FUNCTIONS))?;
    let (&entry, code) = rest.split_first_chunk()?;
    let address = |offset| BASE + HEADERS + u64::from(u16::from_le_bytes(offset));
    let mut symbols = vec![0; 24];
    for &[low, high, size, name] in functions.as_chunks::<FUNCTION>().0 {
        // A function's, and in a section that is not looked at.
        symbols.extend(NAMED[usize::from(name) % NAMED.len()].to_le_bytes());
        symbols.extend([2, 0, 1, 0]);
        symbols.extend(address([low, high]).to_le_bytes());
        symbols.extend(u64::from(size).to_le_bytes());
    }
    let size = code.len() as u64;
    let sections = (HEADERS + size).next_multiple_of(8);
    let symbols_at = sections + 3 * 64;
    let names_at = symbols_at + symbols.len() as u64;

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend(bytes);
    put(&[3, 0, 62, 0, 1, 0, 0, 0]); // a library for x86-64
    for word in [address(entry), 64, sections] {
        put(&word.to_le_bytes());
    }
    for half in [0, 0, 64, 56, 1, 64, 3, 0_u16] {
        put(&half.to_le_bytes());
    }
    put(&[1, 0, 0, 0, 5, 0, 0, 0]); // loaded, to be read and executed
    let start = address([0, 0]);
    for word in [HEADERS, start, start, size, size, 4096] {
        put(&word.to_le_bytes());
    }
    put(code);
    put(&vec![0; (sections - HEADERS - size) as usize + 64]); // and a first section, as always
    for (kind, at, size, link) in [
        (2_u32, symbols_at, symbols.len() as u64, 2_u32),
        (3, names_at, NAMES.len() as u64, 0),
    ] {
        put(&[0; 4]); // no name
        put(&kind.to_le_bytes());
        for word in [0, 0, at, size] {
            put(&word.to_le_bytes());
        }
        put(&link.to_le_bytes());
        put(&[0; 20]);
    }
    put(&symbols);
    put(NAMES);
    Some(file)
}
