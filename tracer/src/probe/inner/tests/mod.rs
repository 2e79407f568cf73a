//! Real allocators of this machine, and invented functions: each cut is held against runs of the code.

mod emulator;

use std::path::Path;

use anyhow::Context as _;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use proptest::prelude::*;

use super::flow::Flow;
use super::*;
use emulator::{Emulator, Random, Run};

const GLIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

/// The code of a module, and where its functions lie in the file.
struct Module {
    segments: Vec<(FileOffset, Vec<u8>)>,
    functions: Vec<(String, FileOffset, u64)>,
}

impl Module {
    fn read(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let data = std::fs::read(path)?;
        let file = object::File::parse(&*data)?;
        let mut module = Self {
            segments: Vec::new(),
            functions: Vec::new(),
        };
        for segment in file.segments() {
            let (offset, _) = segment.file_range();
            let is_code = matches!(
                segment.flags(),
                object::SegmentFlags::Elf { p_flags, .. } if p_flags.0 & object::elf::PF_X.0 != 0
            );
            if !is_code {
                continue;
            }
            let bytes = segment.data()?.to_vec();
            module.segments.push((FileOffset(offset), bytes));
            for symbol in file.dynamic_symbols().chain(file.symbols()) {
                let within = symbol.address().wrapping_sub(segment.address());
                if symbol.is_definition() && within < segment.size() {
                    module.functions.push((
                        symbol.name().unwrap_or_default().to_owned(),
                        FileOffset(offset + within),
                        symbol.size(),
                    ));
                }
            }
        }
        Ok(module)
    }

    fn find(&self, name: &str) -> anyhow::Result<(FileOffset, u64)> {
        let mut functions = self.functions.iter();
        let found = functions.find(|(one, ..)| one == name);
        let &(_, entry, size) = found.with_context(|| format!("no {name}"))?;
        Ok((entry, size))
    }

    fn cut(&self, function: AllocatorFn, name: &str) -> anyhow::Result<Result<Cut, Declined>> {
        let (entry, size) = self.find(name)?;
        Ok(cut(function, entry, size, self.text()))
    }

    fn text(&self) -> Text<'_> {
        Text {
            segments: &self.segments,
        }
    }

    /// Holds a cut against runs; says how many came to a return.
    fn check(
        &self,
        function: AllocatorFn,
        entry: FileOffset,
        cut: &Cut,
        runs: u64,
    ) -> Result<u64, Declined> {
        let flow = Flow::read(self.text(), entry)?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut returned = 0;
        for _ in 0..runs {
            let run = Emulator::new(&flow, &mut random).run(function, cut);
            returned += u64::from(run == Run::Agreed);
        }
        Ok(returned)
    }
}

fn declined(why: Declined) -> anyhow::Error {
    anyhow::anyhow!("declined: {why}")
}

fn points(cut: &Cut) -> Vec<String> {
    let points = cut.points.iter();
    points
        .map(|point| {
            format!(
                "{}: {point}",
                point.instruction.split(' ').next().unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn one_point_sees_a_call_that_malloc_serves_from_its_cache() -> anyhow::Result<()> {
    let libc = Module::read(GLIBC)?;
    let (entry, _) = libc.find("malloc")?;
    let cut = libc.cut(AllocatorFn::Malloc, "malloc")?.map_err(declined)?;
    let wanted = "jne: size in rbx, result in rax; where it does not jump";
    assert!(
        points(&cut).iter().any(|point| point == wanted),
        "{:#?}",
        points(&cut)
    );
    let runs = libc.check(AllocatorFn::Malloc, entry, &cut, 20_000);
    let returned = runs.map_err(declined)?;
    assert!(returned > 10_000, "{returned} of 20,000");
    Ok(())
}

#[test]
fn what_must_be_known_before_it_happens_is_declined() -> anyhow::Result<()> {
    let libc = Module::read(GLIBC)?;
    for (function, name, why) in [
        (AllocatorFn::Realloc, "realloc", Declined::NeededAtEntry),
        (AllocatorFn::Free, "free", Declined::NeededAtEntry),
        (
            AllocatorFn::PosixMemalign,
            "posix_memalign",
            Declined::ResultInMemory,
        ),
    ] {
        assert_eq!(libc.cut(function, name)?, Err(why), "{name}");
    }
    Ok(())
}

#[test]
fn a_jump_that_leads_anywhere_is_declined() -> anyhow::Result<()> {
    // calloc ends in a jump to the memset that suits the processor.
    let libc = Module::read(GLIBC)?;
    let found = libc.cut(AllocatorFn::Calloc, "calloc")?;
    assert!(matches!(found, Err(Declined::Leaves { .. })), "{found:?}");
    Ok(())
}

const ENTRY: FileOffset = FileOffset(0x1000);

fn invented(parts: &[&[u8]]) -> Module {
    Module {
        segments: vec![(ENTRY, parts.concat())],
        functions: Vec::new(),
    }
}

fn cut_of(module: &Module) -> Result<Cut, Declined> {
    let bytes = module.segments[0].1.len() as u64;
    cut(AllocatorFn::Malloc, ENTRY, bytes, module.text())
}

const PUSH_RBX: &[u8] = &[0x53];
const POP_RBX: &[u8] = &[0x5b];
const MOV_RBX_RDI: &[u8] = &[0x48, 0x89, 0xfb];
const TEST_RAX: &[u8] = &[0x48, 0x85, 0xc0];
const INC_RAX: &[u8] = &[0x48, 0xff, 0xc0];
const RET: &[u8] = &[0xc3];
/// `jne` to what follows.
const JNE: &[u8] = &[0x75, 0x00];
/// Reads what comes next in memory.
const MOV_RAX_MEMORY: &[u8] = &[0x48, 0x8b, 0x06];

#[test]
fn a_result_that_changes_afterwards_is_none() -> anyhow::Result<()> {
    let good = [
        PUSH_RBX,
        MOV_RBX_RDI,
        MOV_RAX_MEMORY,
        TEST_RAX,
        JNE,
        POP_RBX,
        RET,
    ];
    let found = cut_of(&invented(&good)).map_err(declined)?;
    assert_eq!(points(&found), ["jne: size in rbx, result in rax"]);
    let bad = [
        PUSH_RBX,
        MOV_RBX_RDI,
        MOV_RAX_MEMORY,
        JNE,
        INC_RAX,
        POP_RBX,
        RET,
    ];
    assert!(cut_of(&invented(&bad)).is_err());
    Ok(())
}

#[test]
fn a_size_that_is_gone_is_not_taken_from_elsewhere() {
    // mov edi, 1: the size is lost before the result is there.
    let parts = [&[0xbf, 1, 0, 0, 0], MOV_RAX_MEMORY, JNE, RET];
    assert_eq!(cut_of(&invented(&parts)), Err(Declined::SizeLost));
}

#[test]
fn what_changes_the_return_address_or_the_stack_pointer_has_no_points() {
    let add_top: &[u8] = &[0x48, 0x83, 0x04, 0x24, 0x01]; // add qword ptr [rsp], 1
    let set_sp: &[u8] = &[0x48, 0xc7, 0xc4, 0, 0x10, 0, 0]; // mov rsp, 0x1000
    let pop_sp: &[u8] = &[0x5c]; // pop rsp
    for strange in [add_top, set_sp, pop_sp] {
        let parts = [strange, MOV_RAX_MEMORY, JNE, RET];
        let found = cut_of(&invented(&parts));
        assert!(found.is_err(), "{strange:x?}: {found:?}");
    }
    assert!(cut_of(&invented(&[MOV_RAX_MEMORY, JNE, RET])).is_ok());
}

/// An instruction of eight bytes, the rest of them nops; jumps lead to one of `count`, by its number.
fn slot(kind: u8, at: usize, to: usize, count: usize) -> [u8; 8] {
    let distance = ((to % count) as i64 - at as i64) * 8;
    let relative = |length: i64| (distance - length) as i32;
    let mut bytes = [0x90; 8];
    let code: Vec<u8> = match kind {
        0 => MOV_RBX_RDI.to_vec(),
        1 => vec![0x48, 0x89, 0xd8], // mov rax, rbx
        2 => vec![0x48, 0x89, 0xc3], // mov rbx, rax
        3 => vec![0x48, 0x89, 0xc5], // mov rbp, rax
        4 => vec![0x48, 0x89, 0xe8], // mov rax, rbp
        5 => TEST_RAX.to_vec(),
        6 => vec![0x48, 0x85, 0xed],              // test rbp, rbp
        7 => vec![0x31, 0xc0],                    // xor eax, eax
        8 => vec![0x48, 0x89, 0x44, 0x24, 0x08],  // mov [rsp+8], rax
        9 => vec![0x48, 0x8b, 0x44, 0x24, 0x08],  // mov rax, [rsp+8]
        10 => vec![0x48, 0x89, 0x5c, 0x24, 0x08], // mov [rsp+8], rbx
        11 => vec![0x48, 0x8b, 0x5c, 0x24, 0x08], // mov rbx, [rsp+8]
        12 => vec![0x48, 0x8d, 0x7c, 0x24, 0x08], // lea rdi, [rsp+8]
        13 => MOV_RAX_MEMORY.to_vec(),
        14 => [&[0x0f, 0x84][..], &relative(6).to_le_bytes()].concat(), // je
        15 => [&[0x0f, 0x85][..], &relative(6).to_le_bytes()].concat(), // jne
        16 => [&[0x0f, 0x87][..], &relative(6).to_le_bytes()].concat(), // ja
        17 => [&[0xe9][..], &relative(5).to_le_bytes()].concat(),       // jmp
        18 => vec![0xff, 0xd6],                                         // call rsi
        _ => vec![],
    };
    bytes[..code.len()].copy_from_slice(&code);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is accepted is right on every way that a run takes.
    #[test]
    fn invented_functions(kinds in proptest::collection::vec((0..20_u8, any::<usize>()), 2..24)) {
        // push rbx; push rbp; sub rsp, 24 and back.
        let prologue = [0x53, 0x55, 0x48, 0x83, 0xec, 0x18, 0x90, 0x90];
        let epilogue = [0x48, 0x83, 0xc4, 0x18, 0x5d, 0x5b, 0xc3, 0x90];
        let count = kinds.len() + 1;
        let mut code = prologue.to_vec();
        for (at, &(kind, to)) in kinds.iter().enumerate() {
            code.extend(slot(kind, at, to, count));
        }
        code.extend(epilogue);
        let module = invented(&[&code]);
        if let Ok(cut) = cut_of(&module) {
            prop_assert!(module.check(AllocatorFn::Malloc, ENTRY, &cut, 40).is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A changed malloc is declined, or its points are right.
    #[test]
    fn changed_code(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local! {
            static LIBC: anyhow::Result<Module> = Module::read(GLIBC);
        }
        let check = |libc: &anyhow::Result<Module>| {
            let libc = libc.as_ref().map_err(ToString::to_string)?;
            let (entry, size) = libc.find("malloc").map_err(|error| error.to_string())?;
            let mut changed = Module { segments: libc.segments.clone(), functions: Vec::new() };
            for (start, code) in &mut changed.segments {
                let at = (entry.0 + at.index(size as usize) as u64).checked_sub(start.0);
                if let Some(place) = at.and_then(|at| code.get_mut(at as usize)) {
                    *place = byte;
                }
            }
            match cut(AllocatorFn::Malloc, entry, size, changed.text()) {
                Ok(cut) => changed.check(AllocatorFn::Malloc, entry, &cut, 40).map_err(|why| why.to_string()),
                Err(_) => Ok(0),
            }
        };
        prop_assert!(LIBC.with(check).is_ok());
    }
}

#[test]
fn enough_invented_functions_have_points() {
    let mut random = Random(7);
    let mut accepted = 0;
    for _ in 0..2_000 {
        let count = 4;
        let mut code = vec![0x53, 0x55, 0x48, 0x83, 0xec, 0x18, 0x90, 0x90];
        for at in 0..count {
            code.extend(slot(
                (random.next() % 20) as u8,
                at,
                random.next() as usize,
                count + 1,
            ));
        }
        code.extend([0x48, 0x83, 0xc4, 0x18, 0x5d, 0x5b, 0xc3, 0x90]);
        accepted += u32::from(cut_of(&invented(&[&code])).is_ok());
    }
    assert!(
        accepted > 20,
        "{accepted} of 2,000: the property tests little"
    );
}
