//! Texts from files, standard input and arguments, whatever the format. One rule for all formats: text `i` is line or
//! row `i` of the file (zero-based, header not counted), so that an index in the output finds its line again.
//! Errors name the file, the line and the column. Nothing here knows a model.

mod csv;
mod jsonl;
pub(crate) mod npy;
pub(crate) mod parquet;
mod txt;

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

/// How the texts of a file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One text a line; an empty line is an empty text
    Txt,
    /// One JSON object or string a line
    Jsonl,
    /// Comma-separated values with a header, quoted as RFC 4180 has it
    Csv,
    /// Tab-separated values with a header, without quoting
    Tsv,
    /// Apache Parquet
    Parquet,
}

impl Format {
    const KNOWN: &str = ".txt, .jsonl, .ndjson, .csv, .tsv or .parquet";

    /// The format that was given, else the one that the file's extension stands for.
    pub(crate) fn of(path: &Path, given: Option<Self>, option: &str) -> Result<Self> {
        if let Some(format) = given {
            return Ok(format);
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        Ok(match extension.as_deref() {
            Some("txt") => Self::Txt,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("csv") => Self::Csv,
            Some("tsv") => Self::Tsv,
            Some("parquet") => Self::Parquet,
            Some(other) => bail!(
                "{}: unknown extension \".{other}\"; rename the file to {} or name its format with {option}",
                path.display(),
                Self::KNOWN
            ),
            None => bail!(
                "{}: no extension tells the format; rename the file to {} or name it with {option}",
                path.display(),
                Self::KNOWN
            ),
        })
    }
}

/// Which columns to read. Formats without columns (.txt, .jsonl of plain strings) refuse a name.
#[derive(Clone, Copy, Default)]
pub(crate) struct Columns<'a> {
    /// The column of the texts; without a name a file must have one column only.
    pub(crate) text: Option<&'a str>,
    /// More columns, returned beside the texts.
    pub(crate) shown: &'a [String],
    /// How the user names the column of the texts, for messages: `--column`.
    pub(crate) option: &'static str,
    /// How the user names the format, for messages: `--input-format`.
    pub(crate) format_option: &'static str,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Texts {
    /// In the order of the file.
    pub(crate) texts: Vec<String>,
    /// For each of `Columns::shown`, a value per text.
    pub(crate) shown: Vec<Vec<String>>,
    /// Where the texts come from.
    pub(crate) origin: Origin,
}

/// Where texts come from, to name one of them in a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Origin {
    /// Arguments of the command line.
    #[default]
    Arguments,
    /// Lines of a file or of standard input: its name.
    Lines(String),
    /// Rows under a header: the file's name.
    Rows(String),
}

impl Origin {
    /// Names text `index` (zero-based) in people's terms, counting from one.
    pub(crate) fn place(&self, index: usize) -> String {
        match self {
            Self::Arguments => format!("text {} of the command line", index + 1),
            Self::Lines(name) => format!("{name}: line {}", index + 1),
            Self::Rows(name) => format!("{name}: row {}", index + 1),
        }
    }
}

/// Reads a file of texts; `-` is standard input. `format` wins over the extension.
pub(crate) fn read(path: &Path, format: Option<Format>, columns: Columns<'_>) -> Result<Texts> {
    if path == Path::new("-") {
        return read_stdin(format.unwrap_or(Format::Txt), columns);
    }
    if path.is_dir() {
        bail!("{}: this is a directory; name a file of texts in it", path.display());
    }
    let format = Format::of(path, format, columns.format_option)?;
    let name = path.display().to_string();
    match format {
        // Read where it lies: a parquet file may hold far more than the columns that are wanted.
        Format::Parquet => {
            parquet::parse(&name, open(path)?, columns).and_then(|found| not_empty(&name, found))
        }
        _ => parse(&name, read_bytes(path)?, format, columns),
    }
}

/// Reads texts from standard input until its end.
pub(crate) fn read_stdin(format: Format, columns: Columns<'_>) -> Result<Texts> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    parse("standard input", bytes, format, columns)
}

/// The whole file, with the file's name in the error.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// The file without the texts that do not `stay`, its other lines or rows as they are, a header kept. Not for parquet.
pub(crate) fn without(path: &Path, format: Format, stay: &[bool]) -> Result<String> {
    let name = path.display().to_string();
    let text = utf8(&name, read_bytes(path)?)?;
    let changed = || anyhow!("{name}: the file has changed meanwhile; run it again");
    match format {
        Format::Csv | Format::Tsv => {
            let kind = if format == Format::Csv { csv::Kind::Csv } else { csv::Kind::Tsv };
            csv::without(&text, kind, stay).ok_or_else(changed)
        }
        _ => {
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() < stay.len() {
                return Err(changed());
            }
            let left = lines.iter().zip(stay).filter(|(_, stay)| **stay);
            Ok(left.fold(String::new(), |all, (line, _)| all + line + "\n"))
        }
    }
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        std::io::ErrorKind::NotFound => match nearest_existing(path) {
            Some(parent) => format!("check the spelling; {} is there", parent.display()),
            None => "check the spelling".to_owned(),
        },
        std::io::ErrorKind::PermissionDenied => "check the permissions of the file".to_owned(),
        _ => "check the file".to_owned(),
    };
    anyhow!("{}: cannot be read: {error}; {advice}", path.display())
}

/// The longest leading part of a path that exists.
fn nearest_existing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .find(|ancestor| !ancestor.as_os_str().is_empty() && ancestor.exists())
        .map(Path::to_owned)
}

fn parse(name: &str, bytes: Vec<u8>, format: Format, columns: Columns<'_>) -> Result<Texts> {
    if bytes.is_empty() {
        bail!("{name}: the file is empty; it must hold at least one text");
    }
    let found = match format {
        Format::Parquet => {
            // Standard input cannot be read from its end, as parquet must be.
            let mut file = tempfile::tempfile().context("no temporary file for standard input")?;
            file.write_all(&bytes).context("standard input does not fit into the temporary directory")?;
            parquet::parse(name, file, columns)?
        }
        Format::Txt => txt::parse(name, &utf8(name, bytes)?, columns)?,
        Format::Jsonl => jsonl::parse(name, &utf8(name, bytes)?, columns)?,
        Format::Csv => csv::parse(name, &utf8(name, bytes)?, csv::Kind::Csv, columns)?,
        Format::Tsv => csv::parse(name, &utf8(name, bytes)?, csv::Kind::Tsv, columns)?,
    };
    not_empty(name, found)
}

fn not_empty(name: &str, found: Texts) -> Result<Texts> {
    if found.texts.is_empty() {
        bail!("{name}: no texts; the file must hold at least one");
    }
    Ok(found)
}

/// Checks UTF-8 and drops a byte order mark.
fn utf8(name: &str, bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => Ok(rest.to_owned()),
            None => Ok(text),
        },
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                bail!(
                    "{name}: the file is UTF-16; save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"
                );
            }
            let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
            bail!(
                "{name}: line {line}: byte 0x{:02x} at offset {at} of the file is not valid UTF-8; \
                 save the file as UTF-8, for example with `iconv -f WINDOWS-1251 -t UTF-8`",
                bytes[at]
            )
        }
    }
}

/// Finds the wanted column among the columns of a file: the text column, then the shown ones, as positions.
fn find_columns<S: AsRef<str>>(
    name: &str,
    present: &[S],
    columns: Columns<'_>,
) -> Result<(usize, Vec<usize>)> {
    let find = |wanted: &str| {
        let mut positions = (0..present.len()).filter(|&position| present[position].as_ref() == wanted);
        match (positions.next(), positions.next()) {
            (Some(position), None) => Ok(position),
            (Some(_), Some(_)) => bail!("{name}: two columns are named \"{wanted}\"; rename one of them"),
            (None, _) => bail!("{name}: no column \"{wanted}\"; the columns are {}", listed(present)),
        }
    };
    let text = match columns.text {
        Some(wanted) => find(wanted)?,
        None if present.len() == 1 => 0,
        None => bail!(
            "{name}: which column holds the texts? Name it with {}; the columns are {}",
            columns.option,
            listed(present)
        ),
    };
    Ok((text, columns.shown.iter().map(|wanted| find(wanted)).collect::<Result<_>>()?))
}

/// `"a", "b", "c"`, and how many more.
fn listed<S: AsRef<str>>(names: &[S]) -> impl Display {
    const MOST: usize = 20;
    let quoted: Vec<String> = names.iter().take(MOST).map(|name| format!("{:?}", name.as_ref())).collect();
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    quoted.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: Option<&str>) -> Columns<'_> {
        Columns { text, option: "--column", ..Default::default() }
    }

    fn error(bytes: &[u8], format: Format, text: Option<&str>) -> String {
        format!("{:#}", parse("file", bytes.to_vec(), format, columns(text)).unwrap_err())
    }

    #[test]
    fn formats_follow_the_extension() {
        for (path, format) in [
            ("a.txt", Format::Txt),
            ("a.b.JSONL", Format::Jsonl),
            ("a.ndjson", Format::Jsonl),
            ("a.csv", Format::Csv),
            ("a.tsv", Format::Tsv),
            ("a.parquet", Format::Parquet),
        ] {
            assert_eq!(Format::of(Path::new(path), None, "--input-format").unwrap(), format, "{path}");
        }
        assert!(Format::of(Path::new("a.xlsx"), None, "--input-format").is_err());
        assert!(Format::of(Path::new("a"), None, "--input-format").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let texts = parse("file", "\u{feff}a\nb\n".into(), Format::Txt, columns(None)).unwrap().texts;
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn invalid_utf8_is_named_by_line_and_offset() {
        let message = error(b"a\nb\xffc\n", Format::Txt, None);
        assert!(message.contains("file: line 2: byte 0xff at offset 3"), "{message}");
        assert!(error(b"\xff\xfea\0", Format::Csv, None).contains("UTF-16"));
        // A file cut in the middle of a letter.
        assert!(error(&"да".as_bytes()[..3], Format::Txt, None).contains("line 1: byte 0xd0 at offset 2"));
    }

    #[test]
    fn an_empty_file_is_an_error_in_every_format() {
        for format in [Format::Txt, Format::Jsonl, Format::Csv, Format::Tsv, Format::Parquet] {
            assert!(error(b"", format, None).contains("the file is empty"));
        }
        assert!(error(b"a,b\n", Format::Csv, Some("a")).contains("no texts"));
    }
}
