//! Real files: compiled here, resolved here.
