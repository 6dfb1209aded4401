//! .npy: a matrix of 32-bit floats as NumPy (or `sentir encode`) writes it, for calibration. Versions 1 to 3 of the
//! format, C order. Source of the format: numpy/lib/_format_impl.py.

use std::path::Path;

use anyhow::{Result, bail};

/// Rows and columns of a matrix, and its numbers row after row.
#[derive(Debug, PartialEq)]
pub(crate) struct Matrix {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Numbers in a row.
    pub(crate) dim: usize,
    /// `rows * dim` numbers.
    pub(crate) values: Vec<f32>,
}

/// Reads the file; every error names it.
pub(crate) fn read(path: &Path) -> Result<Matrix> {
    if path.is_dir() {
        bail!("{}: this is a directory; name a .npy file of float32 vectors", path.display());
    }
    match parse(&super::read_bytes(path)?) {
        Ok(matrix) => Ok(matrix),
        Err(error) => {
            bail!("{}: {error}; write it with `sentir encode --output x.npy` or numpy.save", path.display())
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Matrix> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else { bail!("not a .npy file") };
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [version, ..] => bail!("version {version} of .npy is not known, or the file is cut"),
        [] => bail!("the file is cut"),
    };
    let Some((header, data)) = rest.split_at_checked(length) else { bail!("the file is cut in its header") };
    let header = String::from_utf8_lossy(header);
    let descr = field(&header, "descr").unwrap_or_default();
    if descr.trim_matches(['\'', '"']) != "<f4" {
        bail!("its numbers are {descr}, and must be float32 ('<f4')");
    }
    if field(&header, "fortran_order") != Some("False") {
        bail!("it is in Fortran order, and must be in C order");
    }
    let shape: Option<Vec<usize>> = header.split_once("'shape': (").and_then(|(_, shape)| {
        let (inside, _) = shape.split_once(')')?;
        inside
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(|size| size.parse().ok())
            .collect()
    });
    let Some([rows, dim]) = shape.as_deref() else { bail!("its shape must be (vectors, components)") };
    let bytes = rows.checked_mul(*dim).and_then(|count| count.checked_mul(4));
    if bytes != Some(data.len()) {
        bail!("its header says {rows} x {dim} floats, and {} bytes follow", data.len());
    }
    let (chunks, _) = data.as_chunks::<4>();
    let values = chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
    Ok(Matrix { rows: *rows, dim: *dim, values })
}

/// The value after `'key': `, up to the next comma. Enough for the two flat fields that are asked for.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    rest.split(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn reads_what_numpy_writes() {
        // numpy.save of numpy.float32([[1, 2], [3, 4], [5, -6.5]]), NumPy 2.4: the header as it stands there.
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n";
        let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, -6.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let matrix = parse(&file(header, &data)).unwrap();
        assert_eq!(matrix, Matrix { rows: 3, dim: 2, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, -6.5] });
    }

    #[test]
    fn refuses_lies() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
        for (header, data, expected) in [
            (good, 7, "1 x 2 floats, and 7 bytes follow"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }", 8, "must be float32"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", 8, "Fortran order"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 8, "shape must be"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
                0,
                "bytes follow",
            ),
        ] {
            let message = parse(&file(header, &vec![0; data])).unwrap_err().to_string();
            assert!(message.contains(expected), "{header}: {message}");
        }
        let whole = file(good, &[0; 8]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
        }
    }
}
