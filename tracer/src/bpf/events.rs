//! Ring-buffer bytes to typed events.

use tracer_common::limits::{COPY_WORDS, MAX_FRAMES};
use tracer_common::{EventHeader, EventKind, ProcessEvent, Registers, StackEnd};

/// An event from the kernel side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A stack seen for the first time.
    Stack(StackSeen),
    /// A stack that is still to be walked.
    Copy(StackCopy),
    /// A traced process changed.
    Process(ProcessChange),
}

/// A stack and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSeen {
    /// Process.
    pub tgid: u32,
    /// Image of the process, see [`TargetInfo::image`](tracer_common::TargetInfo::image).
    pub image: u32,
    /// Identity.
    pub stack: u64,
    /// Name of the thread, see [`StackKey::thread`](tracer_common::StackKey::thread).
    pub thread: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Return addresses, leaf first.
    pub frames: Vec<u64>,
    /// Why there are no more.
    pub end: StackEnd,
}

/// The memory of a stack, and the registers to walk it by, at an allocation's return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCopy {
    /// Process.
    pub tgid: u32,
    /// Image of the process, see [`TargetInfo::image`](tracer_common::TargetInfo::image).
    pub image: u32,
    /// Identity of this one allocation's stack.
    pub stack: u64,
    /// Name of the thread, see [`StackKey::thread`](tracer_common::StackKey::thread).
    pub thread: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Where the allocating function returns to, and its caller's registers there.
    pub registers: Registers,
    /// The stack from the stack pointer on.
    pub words: Vec<u64>,
}

impl StackCopy {
    /// The word at an address, as far as it was copied.
    #[must_use]
    pub fn read(&self, address: u64) -> Option<u64> {
        let at = address.checked_sub(self.registers.sp)?;
        // No word of a stack lies at an odd address.
        let index = at.is_multiple_of(8).then_some(at / 8)?;
        self.words.get(usize::try_from(index).ok()?).copied()
    }
}

/// A change in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessChange {
    /// Process.
    pub tgid: u32,
    /// The image that it was in, see [`TargetInfo::image`](tracer_common::TargetInfo::image).
    pub image: u32,
    /// Heap of that image.
    pub heap: u32,
    /// Whether image and heap are another process's, and go on there.
    pub is_borrowed: bool,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What has happened.
    pub what: Change,
}

/// What happens to processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It replaced its image.
    Exec {
        /// The new one; `None` where there was no number left for it, and it is traced no more.
        new: Option<NewImage>,
        /// Whether a thread other than the first called exec.
        by_other_thread: bool,
    },
    /// It has a child, traced as well.
    Fork {
        /// The child.
        child: u32,
        /// The child's image.
        new: NewImage,
    },
    /// Its last thread ends.
    Exit,
    /// Its first thread ends; others may go on.
    FirstThreadExit,
}

/// An image that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewImage {
    /// Its number, unique in the session.
    pub image: u32,
    /// Its heap's number, which may have been another's before.
    pub heap: u32,
}

/// What came through the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// For the session.
    Session(KernelEvent),
    /// For the live table: its last segment is in use.
    LiveTableFilling,
}

/// Decodes an event; `None` for bytes that are none, which only another build's object would send.
pub(super) fn decode(bytes: &[u8]) -> Option<Received> {
    let (head, frames) = bytes.split_at_checked(size_of::<EventHeader>())?;
    let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let (kind, count, tgid, image) = (word(0)?, word(4)? as usize, word(8)?, word(12)?);
    let (time_ns, value) = (long(16)?, long(24)?);
    if kind == EventKind::Stack as u32 {
        if count > MAX_FRAMES || frames.len() < count * 8 {
            return None;
        }
        let (words, _) = frames.as_chunks::<8>();
        return Some(Received::Session(KernelEvent::Stack(StackSeen {
            tgid,
            image,
            stack: value,
            thread: word(36)?,
            time_ns,
            end: StackEnd::from_number(word(32)?)?,
            frames: words[..count]
                .iter()
                .map(|&w| u64::from_ne_bytes(w))
                .collect(),
        })));
    }
    if kind == EventKind::StackCopy as u32 {
        let (words, _) = frames.as_chunks::<8>();
        let mut words = words.iter().map(|&word| u64::from_ne_bytes(word));
        let registers = Registers {
            ip: words.next()?,
            sp: words.next()?,
            bp: words.next()?,
        };
        if count > COPY_WORDS || words.len() < count {
            return None;
        }
        return Some(Received::Session(KernelEvent::Copy(StackCopy {
            tgid,
            image,
            stack: value,
            thread: word(36)?,
            time_ns,
            registers,
            words: words.take(count).collect(),
        })));
    }
    if let Some(change) = decode_change(kind, frames) {
        let (what, old_heap, flags) = change;
        return Some(Received::Session(KernelEvent::Process(ProcessChange {
            tgid,
            image,
            heap: old_heap,
            is_borrowed: flags & ProcessEvent::BORROWED != 0,
            time_ns,
            what,
        })));
    }
    (kind == EventKind::LiveTableFilling as u32).then_some(Received::LiveTableFilling)
}

/// What follows the head of a [`ProcessEvent`]: the change, the heap before, the flags.
fn decode_change(kind: u32, tail: &[u8]) -> Option<(Change, u32, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(tail.get(at..at + 4)?.try_into().ok()?));
    let (child, image, heap, old_heap, flags) =
        (word(0)?, word(4)?, word(8)?, word(12)?, word(16)?);
    let new = (heap != 0).then_some(NewImage { image, heap });
    let change = if kind == EventKind::Exec as u32 {
        Change::Exec {
            new,
            by_other_thread: flags & ProcessEvent::OTHER_THREAD != 0,
        }
    } else if kind == EventKind::Fork as u32 {
        Change::Fork { child, new: new? }
    } else if kind == EventKind::Exit as u32 {
        Change::Exit
    } else if kind == EventKind::FirstThreadExit as u32 {
        Change::FirstThreadExit
    } else {
        return None;
    };
    Some((change, old_heap, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u32, frames: u32, value: u64, tail: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [kind, frames, 7, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        for long in [99, value, StackEnd::Unreadable as u64].iter().chain(tail) {
            bytes.extend(long.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn a_stack_has_its_frames_and_no_more() {
        let bytes = event(EventKind::Stack as u32, 2, 5, &[0x10, 0x20, 0x30]);
        let expected = StackSeen {
            tgid: 7,
            image: 1,
            stack: 5,
            thread: 0,
            time_ns: 99,
            frames: vec![0x10, 0x20],
            end: StackEnd::Unreadable,
        };
        assert_eq!(
            decode(&bytes),
            Some(Received::Session(KernelEvent::Stack(expected)))
        );
    }

    #[test]
    fn a_copy_is_read_by_address() -> Result<(), &'static str> {
        let bytes = event(
            EventKind::StackCopy as u32,
            2,
            5,
            &[0x10, 0x7000, 0x30, 1, 2, 3],
        );
        let Some(Received::Session(KernelEvent::Copy(copy))) = decode(&bytes) else {
            return Err("no copy");
        };
        assert_eq!((copy.stack, copy.registers.ip), (5, 0x10));
        let read = [0x6ff8, 0x7000, 0x7004, 0x7008, 0x7010].map(|address| copy.read(address));
        assert_eq!(read, [None, Some(1), None, Some(2), None]);
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_event_are_refused() {
        assert_eq!(decode(&[]), None);
        assert_eq!(
            decode(&event(EventKind::StackCopy as u32, 2, 5, &[1, 2, 3, 4])),
            None
        );
        assert_eq!(decode(&event(77, 0, 0, &[])), None);
        assert_eq!(decode(&event(EventKind::Stack as u32, 3, 5, &[1, 2])), None);
        assert_eq!(
            decode(&event(EventKind::Stack as u32, 4_000, 5, &[1])),
            None
        );
    }
}
