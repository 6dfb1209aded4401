//! The frame of the HTML pages that sentir writes: one file that needs nothing else, no network; colors follow the reader's light
//! or dark setting, and what the page may load is nothing.
//!
//! Not here: what stands in a page.

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5f6670; --grid: #e3e5e8;
  --c0: #0067a8; --c1: #c14d00; --c2: #00805c; --c3: #a8477f; --c4: #7a6400; --c5: #4b4fc4; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e6e7e9; --faint: #9aa1ab; --grid: #2c3036;
  --c0: #58b4f0; --c1: #ff9a57; --c2: #3fcb9d; --c3: #e88fc2; --c4: #d9bf4a; --c5: #9da1ff; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1, td, th { overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; font-size: 1.2rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: normal; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .s4 { --c: var(--c4); }
.s5 { --c: var(--c5); }
";

/// A page: `title` as its heading, then `body`, which is HTML. `style` is added to the common one, whose variables are `--paper`,
/// `--ink`, `--faint`, `--grid` and the colors `--c0` to `--c5`, in classes `.s0` to `.s5` as `--c`. `script` runs at the end of the
/// page; it must not hold anything that comes from outside but as JSON by [`json`].
pub fn frame(title: &str, style: &str, body: &str, script: Option<&str>) -> String {
    let title = escape(title);
    let policy = if script.is_some() { "; script-src 'unsafe-inline'" } else { "" };
    let script = script.map_or_else(String::new, |script| format!("<script>\n{script}</script>\n"));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'{policy}\">\n\
         <title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}{script}</body>\n</html>\n"
    )
}

/// A text as it may stand between tags and in quoted attributes. Characters that HTML does not allow are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A value as JSON that may stand inside a script: no `<` ends it early.
///
/// # Errors
/// If the value cannot be JSON, such as a map whose keys are not texts.
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    // Between quotes these may be written as escapes; elsewhere JSON has none of them.
    Ok(text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_leaves_its_place() {
        let page = frame("a < b", "", "<p>text</p>", Some(&json("</script><b>&").unwrap()));
        assert!(page.contains("<title>a &lt; b</title>") && page.contains("\"\\u003c/script>"));
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(page.contains("script-src") && !frame("", "", "", None).contains("script-src"));
        assert_eq!(serde_json::from_str::<String>(&json("<\u{2028}").unwrap()).unwrap(), "<\u{2028}");
    }
}
