//! framehop as an oracle: the same walk by another implementation.

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};
use object::{Object as _, ObjectSection as _, ObjectSegment as _};
use tracer_common::Registers;

use super::TestResult;
use super::target::{Code, Files};

/// The modules of a process, as framehop sees them.
#[derive(Default)]
pub(super) struct Oracle {
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
}

impl Oracle {
    pub(super) fn new(code: &[Code], files: &Files) -> TestResult<Self> {
        let mut oracle = Self::default();
        for code in code {
            let file = files.get(&code.name).ok_or("no such file")?;
            let file = object::File::parse(file.as_slice())?;
            // Where the mapping says that address 0 of the file is.
            let segment = file
                .segments()
                .find(|segment| {
                    let (offset, size) = segment.file_range();
                    let page = offset & !0xfff;
                    (page..offset + size).contains(&code.file_offset)
                        && segment.permissions().executable()
                })
                .ok_or("no executable segment")?;
            let address = segment.address() - segment.file_range().0 + code.file_offset;
            let base = code.start.wrapping_sub(address);
            let section = |name| file.section_by_name(name);
            let data = |name| Some(section(name)?.uncompressed_data().ok()?.into_owned());
            let range = |name| {
                let section = section(name)?;
                Some(section.address()..section.address() + section.size())
            };
            let info = ExplicitModuleSectionInfo {
                base_svma: 0,
                text_svma: range(".text"),
                text: data(".text"),
                got_svma: range(".got"),
                eh_frame_svma: range(".eh_frame"),
                eh_frame: data(".eh_frame"),
                eh_frame_hdr_svma: range(".eh_frame_hdr"),
                eh_frame_hdr: data(".eh_frame_hdr"),
                debug_frame: data(".debug_frame"),
                ..ExplicitModuleSectionInfo::default()
            };
            let module = Module::new(code.name.clone(), code.start..code.end, base, info);
            oracle.unwinder.add_module(module);
        }
        Ok(oracle)
    }

    /// The caller's registers; `None` at the root or where framehop knows no more.
    pub(super) fn caller(
        &mut self,
        registers: Registers,
        is_return_address: bool,
        read: &impl Fn(u64) -> Option<u64>,
    ) -> Option<Registers> {
        let mut state = UnwindRegsX86_64::new(registers.ip, registers.sp, registers.bp);
        let address = if is_return_address {
            FrameAddress::from_return_address(registers.ip)?
        } else {
            FrameAddress::from_instruction_pointer(registers.ip)
        };
        let mut read = |address| read(address).ok_or(());
        let ip = self
            .unwinder
            .unwind_frame(address, &mut state, &mut self.cache, &mut read)
            .ok()
            .flatten()?;
        Some(Registers {
            ip,
            sp: state.sp(),
            bp: state.bp(),
        })
    }
}
