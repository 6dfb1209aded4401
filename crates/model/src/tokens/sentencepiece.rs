//! A sentencepiece model file: the pieces, their scores and types, and the character map of the normalizer.
//!
//! A reader of the few fields of `sentencepiece_model.proto` that matter, not a protobuf library.

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model {
    pub pieces: Vec<Piece>,
    /// `normalizer_spec.precompiled_charsmap`; empty if there is none.
    pub charsmap: Vec<u8>,
    /// `trainer_spec.model_type`: 1 is unigram, which is also the default.
    pub model_type: u64,
}

/// One piece of the vocabulary; its place in the list is its id.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: u64,
}

/// Types of pieces (`ModelProto.SentencePiece.Type`).
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;
const NORMAL: u64 = 1;

/// `TrainerSpec.ModelType`
pub(super) const UNIGRAM: u64 = 1;

/// One field of a message.
enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
    Skipped,
}

/// Reads `ModelProto`.
///
/// # Errors
/// What is wrong, and at which byte of the file.
pub(super) fn parse(file: &[u8]) -> Result<Model, String> {
    let mut model = Model { model_type: UNIGRAM, ..Model::default() };
    let mut fields = Fields { bytes: file, at: 0, start: 0 };
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => model.pieces.push(piece(bytes, fields.at - bytes.len())?),
            (2, Value::Bytes(bytes)) => {
                let mut fields = Fields { bytes, at: 0, start: fields.at - bytes.len() };
                while let Some((number, value)) = fields.next()? {
                    if let (3, Value::Varint(kind)) = (number, value) {
                        model.model_type = kind;
                    }
                }
            }
            (3, Value::Bytes(bytes)) => {
                let mut fields = Fields { bytes, at: 0, start: fields.at - bytes.len() };
                while let Some((number, value)) = fields.next()? {
                    if let (2, Value::Bytes(charsmap)) = (number, value) {
                        model.charsmap = charsmap.to_vec();
                    }
                }
            }
            _ => {}
        }
    }
    Ok(model)
}

fn piece(bytes: &[u8], start: usize) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: NORMAL };
    let mut fields = Fields { bytes, at: 0, start };
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(text)) => match std::str::from_utf8(text) {
                Ok(text) => piece.text = text.to_owned(),
                Err(_) => return Err(fields.error("a piece that is not UTF-8")),
            },
            (2, Value::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
            (3, Value::Varint(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    if !piece.score.is_finite() {
        return Err(fields.error("a piece whose score is not a number"));
    }
    Ok(piece)
}

/// The fields of a message, one after another (<https://protobuf.dev/programming-guides/encoding/>).
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message begins in the file.
    start: usize,
}

impl<'a> Fields<'a> {
    /// The next field, `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Skipped
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => match *self.take(4)? {
                [a, b, c, d] => Value::Fixed32([a, b, c, d]),
                _ => Value::Skipped,
            },
            _ => return Err(self.error("a field of unknown type")),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("a number of more than 64 bits"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            return Err(self.error("a field that ends after its message"));
        };
        self.at += length;
        Ok(taken)
    }

    fn error(&self, what: &str) -> String {
        format!(
            "not a sentencepiece model: {what} near byte {}; the file is damaged or of another kind",
            self.start + self.at
        )
    }
}
