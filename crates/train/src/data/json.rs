//! .jsonl (an object a line) and .json (a list of objects, or lines). The first object says which columns there are, and their
//! order; its keys are kept in the order of the file, which a map would not.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::table::{Column, Table, choose, error, find};
use crate::Result;
use crate::json::what_is_wrong;

pub(super) fn read(path: &Path, text: &str, wanted: Option<&[String]>) -> Result<Table> {
    let mut rows = Rows { path, wanted, columns: Vec::new(), all: Vec::new() };
    if text.trim_start().starts_with('[') {
        let objects: Vec<Object> = serde_json::from_str(text).map_err(|found| {
            error(
                path,
                None,
                format!("invalid JSON: {found}; the file must be one list of objects, or an object a line"),
            )
        })?;
        for (index, object) in objects.into_iter().enumerate() {
            rows.push(index + 1, object)?;
        }
    } else {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let object = serde_json::from_str(line).map_err(|found| {
                let what = what_is_wrong(&found);
                let column = found.column();
                let message = format!(
                    "not a JSON object: {what} (column {column}); each line must be one whole object"
                );
                error(path, Some(index + 1), message)
            })?;
            rows.push(index + 1, object)?;
        }
    }
    Ok(Table { columns: rows.columns })
}

struct Rows<'a> {
    path: &'a Path,
    wanted: Option<&'a [String]>,
    columns: Vec<Column>,
    /// The columns of the first object.
    all: Vec<String>,
}

impl Rows<'_> {
    fn push(&mut self, row: usize, object: Object) -> Result<()> {
        let (names, mut values): (Vec<String>, Vec<Value>) = object.0.into_iter().unzip();
        if self.columns.is_empty() {
            let chosen = choose(self.path, Some(row), &names, self.wanted)?;
            self.columns = chosen.iter().map(|&at| Column::new(&names[at])).collect();
            self.all.clone_from(&names);
        }
        if self.wanted.is_none()
            && let Some(other) = names.iter().find(|name| !self.all.contains(name))
        {
            let message = format!(
                "a column \"{other}\" that the first row does not have; rows must have the same columns, or choose columns with --columns"
            );
            return Err(error(self.path, Some(row), message));
        }
        for column in &mut self.columns {
            let at = find(self.path, Some(row), &names, &column.name)?;
            column.push_json(self.path, row, values[at].take())?;
        }
        Ok(())
    }
}

/// The pairs of an object, in the order of the file.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Object(pairs))
    }
}
