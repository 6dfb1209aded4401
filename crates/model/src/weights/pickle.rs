//! Python's pickle, as far as PyTorch needs it for a dictionary of tensors, by a machine that executes nothing.
//!
//! A pickle is a program (<https://github.com/python/cpython/blob/main/Lib/pickletools.py>) that names functions and calls
//! them. This one knows the few that build tensors and dictionaries, as data; any other is an error with its name. Values lie
//! in one list and refer to each other by number, so that neither cycles nor deep nesting can do harm; an instruction makes at
//! most one, of constant size but for the bytes that it takes from the pickle, and their number is limited.

use std::collections::HashMap;

use super::{Dtype, shown};

/// What went wrong; the caller knows the file.
pub(super) type Result<T, E = String> = std::result::Result<T, E>;

/// Number of a value.
pub(super) type Id = u32;

/// A value that a pickle has made.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `None`, and what is of no interest: a set, a float.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Tuples and lists.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    /// A type of numbers, which is not called.
    Dtype,
    OrderedDict,
    Size,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`
    RebuildTensor,
    /// `_rebuild_parameter`, `_rebuild_parameter_with_state`
    RebuildParameter,
    StorageType(Dtype),
}

/// A run of numbers in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    /// A text.
    pub key: Id,
    pub dtype: Dtype,
    /// Where in the storage of that key this one begins: old files have storages that are parts of others.
    pub start: usize,
}

/// A tensor over a storage. Nothing of it is checked yet but that its storage is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Id,
    pub strides: Id,
}

/// A machine that runs a pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Where in the stack the open groups begin.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// How many more items of lists may be copied.
    copies: usize,
}

/// What is left after a pickle: its values and which one is the result.
#[derive(Debug)]
pub(super) struct Pickled {
    pub values: Vec<Value>,
    pub root: Id,
    /// Bytes read.
    pub length: usize,
}

impl Pickled {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// The items of a list of sizes.
    pub(super) fn sizes(&self, list: Id) -> Result<Vec<usize>> {
        let Value::List(items) = self.get(list) else {
            return Err("it has a shape that is no tuple".to_owned());
        };
        if items.len() > 16 {
            return Err(format!("it has {} dimensions", items.len()));
        }
        let size = |&id: &Id| match *self.get(id) {
            Value::Int(size) => {
                usize::try_from(size).map_err(|_| format!("it has a size or stride of {size}"))
            }
            _ => Err("it has a size that is no number".to_owned()),
        };
        items.iter().map(size).collect()
    }
}

/// No dictionary of tensors needs a longer program, more values or more groups in each other.
const LONGEST: usize = 32 << 20;
const MOST: usize = 4 << 20;
const DEEPEST: usize = 1000;

/// Runs the pickle at the start of `bytes`.
pub(super) fn run(bytes: &[u8]) -> Result<Pickled> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copies: bytes.len(),
    };
    loop {
        let at = machine.at;
        let opcode = machine.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickled { values: machine.values, root, length: machine.at });
        }
        machine.step(opcode).map_err(|message| format!("{message} (byte {at} of the pickle)"))?;
    }
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'\x80' => drop(self.take(1)?), // PROTO
            b'\x95' => drop(self.take(8)?), // FRAME
            b'(' => {
                if self.marks.len() == DEEPEST {
                    return Err(format!("more than {DEEPEST} groups are open"));
                }
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?), // POP
            b'1' => drop(self.pop_group()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' | b'\x8f' => self.push(Value::Other)?, // NONE, EMPTY_SET
            b'\x88' => self.push(Value::Bool(true))?,
            b'\x89' => self.push(Value::Bool(false))?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?; // BINFLOAT
            }
            b'F' => {
                self.line()?;
                self.push(Value::Other)?;
            }
            b'I' | b'L' | b'J' | b'K' | b'M' | b'\x8a' | b'\x8b' => {
                let value = self.integer(opcode)?;
                self.push(value)?;
            }
            b'X' | b'U' | b'T' | b'\x8c' | b'\x8d' | b'B' | b'C' | b'\x8e' | b'V' | b'S' => {
                let text = self.text(opcode)?;
                self.push(Value::Text(text))?;
            }
            b')' | b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b't' | b'l' => {
                let items = self.pop_group()?;
                self.push(Value::List(items))?;
            }
            b'\x85'..=b'\x87' => {
                let count = usize::from(opcode - b'\x84');
                let start = self
                    .stack
                    .len()
                    .checked_sub(count)
                    .filter(|&start| start >= self.floor())
                    .ok_or("the stack is empty")?;
                let items = self.stack.split_off(start);
                self.push(Value::List(items))?;
            }
            b'd' => {
                let items = self.pop_group()?;
                self.push(Value::Dict(pairs(&items)?))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | b'\x90' => {
                let items = self.pop_group()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.pop_group()?;
                self.set(pairs(&items)?)?;
            }
            b'q' | b'r' | b'p' | b'\x94' => {
                let key = match opcode {
                    b'q' => u64::from(self.byte()?),
                    b'r' => u64::from(u32::from_le_bytes(self.array()?)),
                    b'p' => self.number_line()?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' | b'g' => {
                let key = match opcode {
                    b'h' => u64::from(self.byte()?),
                    b'j' => u64::from(u32::from_le_bytes(self.array()?)),
                    _ => self.number_line()?,
                };
                let id = *self.memo.get(&key).ok_or_else(|| format!("nothing is remembered under {key}"))?;
                self.stack.push(id);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = global(&module, &name)?;
                self.push(Value::Global(global))?;
            }
            b'\x93' => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (self.get(module), self.get(name)) {
                    (Value::Text(module), Value::Text(name)) => global(module, name)?,
                    _ => return Err("a global without a name".to_owned()),
                };
                self.push(Value::Global(global))?;
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            b'b' => {
                // The state of an OrderedDict (its `_metadata`) is not needed.
                self.pop()?;
                let object = self.top()?;
                if !matches!(self.get(object), Value::Dict(_)) {
                    return Err("it sets the state of something that is no dictionary".to_owned());
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage))?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(refused(&module, &name));
            }
            b'o' | b'\x81' | b'\x92' => {
                return Err("it makes an object of a class; only tensors are allowed".to_owned());
            }
            b'\x82'..=b'\x84' => {
                return Err("it uses registered extensions; only tensors are allowed".to_owned());
            }
            other => {
                return Err(format!("instruction 0x{other:02x} is not one that PyTorch writes for tensors"));
            }
        }
        Ok(())
    }

    /// A call, as data: pushes its result.
    fn call(&mut self, function: Id, arguments: Id) -> Result<()> {
        let Value::Global(function) = *self.get(function) else {
            return Err("it calls something that is no function".to_owned());
        };
        let Value::List(arguments) = self.get(arguments) else {
            return Err("it calls a function with something that is no tuple".to_owned());
        };
        let argument = |i: usize| arguments.get(i).copied();
        let value = |i: usize| argument(i).map(|id| self.get(id));
        let mut copies = self.copies;
        let result = match (function, value(0)) {
            (Global::OrderedDict, None) => Value::Dict(Vec::new()),
            (Global::OrderedDict, Some(Value::List(items))) => {
                // One list may be the argument of many calls.
                copies = copies.checked_sub(items.len()).ok_or("it copies too much")?;
                let pair = |&id: &Id| match self.get(id) {
                    Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                    _ => Err("an OrderedDict of something else than pairs".to_owned()),
                };
                Value::Dict(items.iter().map(pair).collect::<Result<_>>()?)
            }
            (Global::OrderedDict, _) => return Err("an OrderedDict of something else than pairs".to_owned()),
            (Global::Size, Some(Value::List(_))) | (Global::RebuildParameter, Some(Value::Tensor(_))) => {
                self.stack.extend(argument(0));
                return Ok(());
            }
            (Global::Size, _) => return Err("a torch.Size of something else than numbers".to_owned()),
            (Global::RebuildParameter, _) => {
                return Err("a parameter of something else than a tensor".to_owned());
            }
            (Global::RebuildTensor, Some(&Value::Storage(storage))) => {
                let (Some(&Value::Int(offset)), Some(shape), Some(strides)) =
                    (value(1), argument(2), argument(3))
                else {
                    return Err("a tensor without offset, shape and strides".to_owned());
                };
                let offset = usize::try_from(offset).map_err(|_| "a tensor with a negative offset")?;
                Value::Tensor(Tensor { storage, offset, shape, strides })
            }
            (Global::RebuildTensor, _) => return Err("a tensor without a storage".to_owned()),
            (Global::StorageType(_) | Global::Dtype, _) => {
                return Err("it calls a type; storages are made by reference".to_owned());
            }
        };
        self.copies = copies;
        self.push(result)
    }

    /// `('storage', type, key, device, length)`, in old files also `(key, offset, length)` of a part, or None.
    fn storage(&self, id: Id) -> Result<Storage> {
        let wrong = || "a reference to something else than a storage".to_owned();
        let Value::List(parts) = self.get(id) else { return Err(wrong()) };
        let part = |i: usize| parts.get(i).map(|&id| self.get(id));
        let (
            Some(Value::Text(kind)),
            Some(&Value::Global(Global::StorageType(dtype))),
            Some(Value::Text(name)),
        ) = (part(0), part(1), part(2))
        else {
            return Err(wrong());
        };
        if kind != "storage" || name.len() > 255 {
            return Err(wrong());
        }
        let key = parts[2];
        // How long it is, the file itself says.
        let start = match part(5) {
            Some(Value::List(view)) => match view.get(1).map(|&id| self.get(id)) {
                Some(&Value::Int(start)) => usize::try_from(start).map_err(|_| wrong())?,
                _ => return Err(wrong()),
            },
            _ => 0,
        };
        Ok(Storage { key, dtype, start })
    }

    fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() == MOST {
            return Err(format!("it has more than {MOST} values"));
        }
        let id = self.values.len() as Id;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// Where the innermost open group begins; nothing below may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err("the stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn top(&self) -> Result<Id> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_group(&mut self) -> Result<Vec<Id>> {
        let start = self.marks.pop().ok_or("a group ends that did not begin")?;
        Ok(self.stack.split_off(start))
    }

    fn append(&mut self, mut items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::List(list) => list.append(&mut items),
            Value::Other => {} // a set
            _ => return Err("it appends to something that is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, mut items: Vec<(Id, Id)>) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::Dict(dict) => dict.append(&mut items),
            _ => return Err("it sets an item of something that is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or("it ends in the middle of an instruction")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Up to the next line feed, which is taken, too.
    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length =
            rest.iter().position(|&byte| byte == b'\n').ok_or("it ends in the middle of an instruction")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn number_line(&mut self) -> Result<u64> {
        let line = self.line()?;
        line.trim().parse().map_err(|_| format!("\"{}\" is no number", shown(&line)))
    }

    fn integer(&mut self, opcode: u8) -> Result<Value> {
        Ok(Value::Int(match opcode {
            b'J' => i32::from_le_bytes(self.array()?).into(),
            b'K' => self.byte()?.into(),
            b'M' => u16::from_le_bytes(self.array()?).into(),
            b'I' | b'L' => {
                let line = self.line()?;
                match line.trim() {
                    "00" => return Ok(Value::Bool(false)),
                    "01" => return Ok(Value::Bool(true)),
                    text => match text.trim_end_matches('L').parse() {
                        Ok(number) => number,
                        Err(_) => return Ok(Value::Other),
                    },
                }
            }
            // LONG1 and LONG4: two's complement, little-endian. One of more than eight bytes is of no interest.
            _ => {
                let length = if opcode == b'\x8a' {
                    self.byte()?.into()
                } else {
                    u32::from_le_bytes(self.array()?) as usize
                };
                let bytes = self.take(length)?;
                if bytes.len() > 8 {
                    return Ok(Value::Other);
                }
                let sign = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
                let mut padded = [sign; 8];
                padded[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(padded)
            }
        }))
    }

    fn text(&mut self, opcode: u8) -> Result<String> {
        let length = match opcode {
            b'V' | b'S' => {
                let line = self.line()?;
                return Ok(line.trim_matches(['\'', '"']).to_owned());
            }
            b'U' | b'C' | b'\x8c' => self.byte()?.into(),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.array()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
        };
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".to_owned())
    }
}

/// The list of what a pickle may name.
fn global(module: &str, name: &str) -> Result<Global> {
    let storage = |name: &str| {
        Some(match name.strip_suffix("Storage")? {
            "Float" => Dtype::F32,
            "Double" => Dtype::F64,
            "Half" => Dtype::F16,
            "BFloat16" => Dtype::Bf16,
            "Long" => Dtype::I64,
            "Int" => Dtype::I32,
            "Short" => Dtype::I16,
            "Char" => Dtype::I8,
            "Byte" => Dtype::U8,
            "Bool" => Dtype::Bool,
            _ => return None,
        })
    };
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch", "Size") => Some(Global::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Global::RebuildParameter)
        }
        ("torch.storage", "UntypedStorage") => Some(Global::StorageType(Dtype::U8)),
        ("torch", name) if DTYPES.contains(&name) => Some(Global::Dtype),
        ("torch", name) => storage(name).map(Global::StorageType),
        _ => None,
    };
    known.ok_or_else(|| refused(module, name))
}

/// Types that a dictionary may mention beside its tensors.
const DTYPES: [&str; 10] =
    ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];

fn refused(module: &str, name: &str) -> String {
    let name = shown(&format!("{module}.{name}"));
    format!("it asks to run \"{name}\", which weights have no need of: refused; use weights in safetensors")
}
