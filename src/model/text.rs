//! Text from strangers made safe to show: cut, escaped, and compared.

/// Cuts `text` to at most `chars_max` characters, with an ellipsis where something is missing.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => {
            let mut kept = text[..end].to_owned();
            kept.push('…');
            kept
        }
    }
}

/// Escapes control, bidirectional-formatting and zero-width characters as `\u{…}`.
pub fn escape(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for it in text.chars() {
        if is_unsafe(it) {
            safe.extend(it.escape_unicode());
        } else {
            safe.push(it);
        }
    }
    safe
}

/// Bytes as two digits each.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|it| [it >> 4, it & 15]);
    digits.filter_map(|it| char::from_digit(it.into(), 16)).collect()
}

/// Like [`escape`], but lets line breaks and tabs through: for text of several lines.
pub fn escape_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for it in text.chars() {
        if is_unsafe(it) && !matches!(it, '\n' | '\t') {
            safe.extend(it.escape_unicode());
        } else {
            safe.push(it);
        }
    }
    safe
}

/// Like [`escape`], for Markdown, also where a reader lets HTML through: no tag, link, image or
/// emphasis, no table and no code. Underscores inside of words mark nothing and stay as they are.
pub fn escape_markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let (mut before, text) = (' ', escape(text));
    let mut rest = text.chars().peekable();
    while let Some(it) = rest.next() {
        let is_inside =
            before.is_alphanumeric() && rest.peek().is_some_and(|it| it.is_alphanumeric());
        match it {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '[' | ']' | '!' | '\\' | '`' | '*' | '|' | '~' => safe.extend(['\\', it]),
            '_' if !is_inside => safe.extend(['\\', it]),
            _ => safe.push(it),
        }
        before = it;
    }
    safe
}

/// Escapes JSON text as JSON does, so that it reads back as it was: outside its strings there is no
/// unsafe character but line breaks, which stay.
pub fn escape_json(json: &str) -> String {
    if escape_lines(json) == json {
        return json.to_owned();
    }
    let mut safe = String::with_capacity(json.len() + 16);
    let mut utf16 = [0; 2];
    for it in json.chars() {
        if is_unsafe(it) && !matches!(it, '\n' | '\t') {
            safe.extend(it.encode_utf16(&mut utf16).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            safe.push(it);
        }
    }
    safe
}

/// The candidate nearest to `word`, if one is near enough to be a likely slip of the pen.
///
/// Costs O(candidates); texts over 64 bytes are not compared.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let slips_max = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|it| it.len().abs_diff(word.len()) <= slips_max)
        .map(|it| (strsim::osa_distance(&word.to_lowercase(), &it.to_lowercase()), it))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, it)| it)
}

/// `; did you mean "…"?`, if one of the candidates is near.
pub fn did_you_mean<'c, I>(word: &str, among: I) -> String
where
    I: IntoIterator<Item = &'c str>,
{
    meant(word, among).map_or_else(String::new, |it| format!("; did you mean {it:?}?"))
}

/// `` ; did you mean `…`? ``, as messages about settings quote the names in them.
pub fn did_you_mean_key<'c, I>(word: &str, among: I) -> String
where
    I: IntoIterator<Item = &'c str>,
{
    meant(word, among).map_or_else(String::new, |it| format!("; did you mean `{}`?", escape(it)))
}

fn meant<'c>(word: &str, among: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Every word of one letter is near to every other.
    let is_near = |it: &&str| word.len() > 1 || it.eq_ignore_ascii_case(word);
    nearest(word, among.into_iter().filter(is_near))
}

/// Whether a character can hide or reorder what stands around it.
fn is_unsafe(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_of_strangers_is_text() {
        let shown = escape_markdown("<img src=x onerror=\"a()\"> [c](javascript:1) & ![i](u)\n`x`");
        let expected = "&lt;img src=x onerror=\"a()\"&gt; \\[c\\](javascript:1) &amp; \\!\\[i\\](u)\
                        \\\\u{a}\\`x\\`";
        assert_eq!(shown, expected);
        assert_eq!(escape_markdown("a_b _c_ **d** |e| \\"), r"a_b \_c\_ \*\*d\*\* \|e\| \\");
    }

    #[test]
    fn json_reads_back_as_it_was_and_shows_nothing_unsafe() {
        let evil = "a\u{202e}b\u{200b}\u{9b}31m\u{e0001}\n\"é\"";
        let json = serde_json::to_string_pretty(&[evil]).unwrap();
        let safe = escape_json(&json);
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [evil]);
        assert!(!safe.chars().any(|it| is_unsafe(it) && it != '\n'), "{safe}");
        assert!(safe.contains("\\u202e") && safe.contains('é'), "{safe}");
        assert_eq!(escape_json("[\n  1\n]"), "[\n  1\n]");
    }

    #[test]
    fn hiding_characters_are_escaped() {
        assert_eq!(escape("a\u{202e}b\u{7}c\u{200b}"), r"a\u{202e}b\u{7}c\u{200b}");
        assert_eq!(escape_lines("a\nb\u{1b}[1m"), "a\nb\\u{1b}[1m");
        assert_eq!(escape("größe"), "größe");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn nearest_finds_slips_and_nothing_else() {
        assert_eq!(nearest("gost", ["ghost", "host-2"]), Some("ghost"));
        assert_eq!(nearest("dependancies", ["dependencies", "description"]), Some("dependencies"));
        assert_eq!(nearest("xyz", ["ghost"]), None);
    }

    #[test]
    fn one_letter_is_no_slip_for_another() {
        assert_eq!(did_you_mean("gost", ["ghost"]), "; did you mean \"ghost\"?");
        assert_eq!(did_you_mean("y", ["n", "Y"]), "; did you mean \"Y\"?");
        assert_eq!(did_you_mean("x", ["n", "y"]), "");
    }
}
