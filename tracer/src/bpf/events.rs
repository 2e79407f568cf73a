//! Ring-buffer bytes to typed events.

use tracer_common::limits::MAX_FRAMES;
use tracer_common::{EventHeader, EventKind, StackEnd};

/// An event from the kernel side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A stack seen for the first time.
    Stack(StackSeen),
    /// A traced process changed.
    Process(ProcessChange),
}

/// A stack and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSeen {
    /// Process.
    pub tgid: u32,
    /// Life of the process.
    pub life: u32,
    /// Identity.
    pub stack: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Return addresses, leaf first.
    pub frames: Vec<u64>,
    /// Why there are no more.
    pub end: StackEnd,
}

/// A change in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// It replaced its image.
    Exec {
        /// Process.
        tgid: u32,
        /// The new life.
        life: u32,
        /// The heap that is gone with the old image.
        old_heap: u32,
        /// The new one; 0 where there was no number left for it.
        heap: u32,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// It has a child, traced as well.
    Fork {
        /// Parent.
        tgid: u32,
        /// Child.
        child: u32,
        /// The child's heap.
        heap: u32,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
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
    let (kind, count, tgid, life) = (word(0)?, word(4)? as usize, word(8)?, word(12)?);
    let (time_ns, value) = (long(16)?, long(24)?);
    if kind == EventKind::Stack as u32 {
        if count > MAX_FRAMES || frames.len() < count * 8 {
            return None;
        }
        let (words, _) = frames.as_chunks::<8>();
        return Some(Received::Session(KernelEvent::Stack(StackSeen {
            tgid,
            life,
            stack: value,
            time_ns,
            end: StackEnd::from_number(word(32)?)?,
            frames: words[..count]
                .iter()
                .map(|&w| u64::from_ne_bytes(w))
                .collect(),
        })));
    }
    if kind == EventKind::Exec as u32 {
        return Some(Received::Session(KernelEvent::Process(
            ProcessChange::Exec {
                tgid,
                life,
                old_heap: (value >> 32) as u32,
                heap: value as u32,
                time_ns,
            },
        )));
    }
    if kind == EventKind::Fork as u32 {
        return Some(Received::Session(KernelEvent::Process(
            ProcessChange::Fork {
                tgid,
                child: value as u32,
                heap: (value >> 32) as u32,
                time_ns,
            },
        )));
    }
    (kind == EventKind::LiveTableFilling as u32).then_some(Received::LiveTableFilling)
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
            life: 1,
            stack: 5,
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
    fn bytes_that_are_no_event_are_refused() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&event(77, 0, 0, &[])), None);
        assert_eq!(decode(&event(EventKind::Stack as u32, 3, 5, &[1, 2])), None);
        assert_eq!(
            decode(&event(EventKind::Stack as u32, 4_000, 5, &[1])),
            None
        );
    }
}
