//! What the engines that are measured share: options of the command line, and memory.

use std::error::Error;
use std::str::FromStr;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The command line.
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    pub(crate) fn read() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// What follows `name`, if it is there.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// What follows `name`; an error if nothing does.
    pub(crate) fn needed(&self, name: &str) -> Result<&str> {
        self.option(name).ok_or_else(|| format!("give {name}").into())
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.option(name).map_or(Ok(default), usize::from_str)?)
    }
}

/// The most memory that this process has had, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
