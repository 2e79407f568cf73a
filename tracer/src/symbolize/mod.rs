//! Addresses to frames; "unknown" is data with a reason, not an error.
