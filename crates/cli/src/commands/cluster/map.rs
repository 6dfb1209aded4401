//! The page of `sentir cluster`: every text a point of a plane, near to what it is like, in the color of its group. It needs no network.

use anyhow::Result;
use sentir::Rows;
use sentir::train::page::{escape, frame, json};
use serde_json::json;

use crate::terminal::{grouped, line};

/// Letters of a text that the page keeps.
const LETTERS: usize = 300;

/// `points` `[texts, 2]` are places, found as `how` says; `heads` are size and words of each group.
pub(super) fn page(
    points: &Rows,
    how: &str,
    texts: &[String],
    labels: &[i64],
    heads: &[(usize, String)],
) -> Result<String> {
    let shown: Vec<String> = texts.iter().map(|text| line(text, LETTERS)).collect();
    // Four digits are finer than a screen.
    let across = points.as_slice().iter().fold(0.0f32, |most, x| most.max(x.abs())).max(f32::MIN_POSITIVE);
    let place = |x: f32| (f64::from(x / across) * 1e4).round() / 1e4;
    let places: Vec<[f64; 2]> = points.iter().map(|point| [place(point[0]), place(point[1])]).collect();
    let data = json(&json!({"points": places, "texts": shown, "labels": labels, "heads": heads}))?;
    let body = format!(
        "<p class=\"note\">{} texts in {} groups. Texts that are alike lie near each other, as far as a plane allows: {how}. Hover over a point to read it; choose groups on the right; search for words.</p>\n\
         <div class=\"tools\"><input id=\"search\" type=\"search\" placeholder=\"search in texts\" aria-label=\"search in texts\">\
         <button id=\"all\">all groups</button> <span id=\"found\" class=\"note\"></span></div>\n\
         <div class=\"map\"><div class=\"plane\"><canvas id=\"plane\"></canvas><div id=\"text\" hidden></div></div><ol id=\"groups\"></ol></div>\n\
         <noscript><p>{}</p></noscript>\n",
        grouped(texts.len()),
        grouped(heads.len()),
        escape("The map is drawn by the script of this page, which is switched off.")
    );
    let script = format!("const data = {data};\n{}", include_str!("map.js"));
    Ok(frame("Groups of texts", STYLE, &body, Some(&script)))
}

const STYLE: &str = "
body { max-width: 110rem; }
.note { color: var(--faint); }
.tools { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .5rem; align-items: baseline; } .tools input { font: inherit; padding: .3rem .6rem; width: 20rem; max-width: 100%; }
.tools button { font: inherit; padding: .3rem .8rem; }
.map { display: grid; grid-template-columns: minmax(0, 1fr) minmax(16rem, 24rem); gap: 1rem; }
@media (max-width: 60rem) { .map { grid-template-columns: 1fr; } }
.plane { position: relative; height: 75vh; border: 1px solid var(--grid); }
canvas { width: 100%; height: 100%; display: block; }
#text { position: absolute; max-width: 24rem; padding: .4rem .6rem; background: var(--paper); border: 1px solid var(--faint);
  font-size: .85rem; pointer-events: none; overflow-wrap: anywhere; }
#groups { list-style: none; margin: 0; padding: 0; max-height: 75vh; overflow: auto; font-size: .9rem; }
#groups button { all: unset; display: block; width: 100%; box-sizing: border-box; padding: .25rem .5rem; cursor: pointer;
  border-left: .5rem solid var(--own); margin-bottom: 2px; }
#groups button:focus-visible { outline: 2px solid var(--c0); } #groups button[aria-pressed=false] { opacity: .4; }
";
