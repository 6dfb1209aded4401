//! What a training took of the processor's energy, where the system counts it: the counters of RAPL under `/sys/class/powercap`
//! (documentation of Linux, `power/powercap`). Other machines do not say; then nothing is said.

use std::path::{Path, PathBuf};

/// The counters at the beginning.
#[derive(Debug)]
pub struct Energy(Vec<Counter>);

#[derive(Debug)]
struct Counter {
    file: PathBuf,
    /// Microjoules at the beginning.
    begun: u64,
    /// Where the counter begins anew.
    range: u64,
}

impl Energy {
    /// Begins to count; `None` where nobody counts, or not for everybody.
    #[must_use]
    pub fn begin() -> Option<Self> {
        Self::begin_at(Path::new("/sys/class/powercap"))
    }

    fn begin_at(folder: &Path) -> Option<Self> {
        let mut counters = Vec::new();
        for entry in std::fs::read_dir(folder).ok()? {
            let path = entry.ok()?.path();
            // `intel-rapl:0` is a processor, `intel-rapl:0:1` a part of it.
            let name = path.file_name()?.to_string_lossy().into_owned();
            if name.matches(':').count() == 1 {
                let file = path.join("energy_uj");
                let (begun, range) = (number(&file)?, number(&path.join("max_energy_range_uj"))?);
                counters.push(Counter { file, begun, range });
            }
        }
        (!counters.is_empty()).then_some(Self(counters))
    }

    /// Joules since. A counter that began anew did so once; they do after an hour at the earliest, so ask before.
    #[must_use]
    pub fn joules(&self) -> Option<f64> {
        let mut sum = 0.0;
        for counter in &self.0 {
            let now = number(&counter.file)?;
            let spent =
                if now >= counter.begun { now - counter.begun } else { now + counter.range - counter.begun };
            sum += spent as f64 / 1e6;
        }
        Some(sum)
    }
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_once_and_counters_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Energy::begin_at(folder.path()).is_none());
        let set = |name: &str, value: u64| {
            let own = folder.path().join(name);
            std::fs::create_dir_all(&own).unwrap();
            std::fs::write(own.join("energy_uj"), format!("{value}\n")).unwrap();
            std::fs::write(own.join("max_energy_range_uj"), "10000000\n").unwrap();
        };
        ["intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1"].iter().for_each(|name| set(name, 9_000_000));
        let energy = Energy::begin_at(folder.path()).unwrap();
        set("intel-rapl:0", 9_500_000);
        set("intel-rapl:0:1", 9_900_000);
        set("intel-rapl:1", 1_000_000);
        assert_eq!(energy.joules(), Some(0.5 + 2.0));
    }
}
