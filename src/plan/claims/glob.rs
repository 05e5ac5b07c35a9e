//! Globs of files: what one may look like, and whether two can mean the same file.

/// The longest glob, in bytes.
const BYTES_MAX: usize = 1_024;

/// What is wrong with a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum GlobFault {
    /// It is longer than is let in.
    TooLong,
    /// It has characters that other globs give a meaning.
    Syntax,
    /// `**` stands beside other characters.
    Stars,
}

/// Whether a text means more than one file.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Checks a glob of `*` (anything but `/`), `?` (one character but `/`) and `**` (any folders, as
/// a segment of its own). Nothing else has a meaning, and what elsewhere has one is refused.
pub(in crate::plan) fn check_glob(glob: &str) -> Result<(), GlobFault> {
    if glob.len() > BYTES_MAX {
        return Err(GlobFault::TooLong);
    }
    if glob.contains(['[', ']', '{', '}', '!', '\\']) {
        return Err(GlobFault::Syntax);
    }
    let is_mixed = |it: &str| it.contains("**") && it != "**";
    if glob.split('/').any(is_mixed) { Err(GlobFault::Stars) } else { Ok(()) }
}

/// What a glob begins with before anything in it stands for something else.
pub(super) fn fixed_part(glob: &str) -> &str {
    glob.find(['*', '?']).map_or(glob, |at| &glob[..at])
}

/// Whether a file exists in principle that both globs mean.
///
/// Costs O(bytes of the one × bytes of the other) at worst, and takes that from `steps`; with too
/// few left the answer is yes, which holds a task back at worst.
pub(super) fn overlap(one: &str, other: &str, steps: &mut usize) -> bool {
    let Some(left) = steps.checked_sub(one.len().min(other.len()) + 1) else { return true };
    *steps = left;
    let (fixed, other_fixed) = (fixed_part(one), fixed_part(other));
    let common = fixed.len().min(other_fixed.len());
    if fixed.as_bytes()[..common] != other_fixed.as_bytes()[..common] {
        return false;
    }
    let Some(left) = steps.checked_sub(one.len() * other.len()) else { return true };
    *steps = left;
    let (one, other): (Vec<&str>, Vec<&str>) =
        (one.split('/').collect(), other.split('/').collect());
    meet(
        &one,
        &other,
        |it| *it == "**",
        |a, b| {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            meet(&a, &b, |it| *it == '*', |a, b| a == b || *a == '?' || *b == '?')
        },
    )
}

/// Whether two patterns can stand for the same row of things: `is_any` items for any number of
/// them, and other items for one that they share where `is_same` says so.
///
/// Row by row of a table: whether what is left of `one` and of `other` can still meet.
fn meet<T>(
    one: &[T],
    other: &[T],
    is_any: impl Fn(&T) -> bool,
    is_same: impl Fn(&T, &T) -> bool,
) -> bool {
    let mut below = vec![false; other.len() + 1];
    for at in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for with in (0..=other.len()).rev() {
            let (a, b) = (one.get(at), other.get(with));
            row[with] = match (a, b) {
                (None, None) => true,
                (Some(a), _) if is_any(a) => below[with] || b.is_some() && row[with + 1],
                (_, Some(b)) if is_any(b) => row[with + 1] || a.is_some() && below[with],
                (Some(a), Some(b)) => is_same(a, b) && below[with + 1],
                (Some(_), None) | (None, Some(_)) => false,
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        let both = [(one, other), (other, one)].map(|it| overlap(it.0, it.1, &mut 1_000_000));
        assert_eq!(both, [expected; 2]);
    }

    #[test]
    fn globs_overlap_where_one_file_can_be_meant_by_both() {
        check("/w/a.py", "/w/a.py", true);
        check("/w/a.py", "/w/b.py", false);
        check("/w/*.py", "/w/a.py", true);
        check("/w/*.py", "/w/sub/a.py", false);
        check("/w/**/*.py", "/w/sub/a.py", true);
        check("/w/**/*.py", "/w/a.py", true);
        check("/w/**", "/w/sub/**", true);
        check("/w/sub/**", "/w/other/**", false);
        check("/w/a*.py", "/w/*b.py", true);
        check("/w/a*.py", "/w/b*.py", false);
        check("/w/?.py", "/w/ab.py", false);
        check("/w/??.py", "/w/a*.py", true);
        check("/w/**/x/**", "/w/**/y", true);
        check("/w/**/x", "/w/**/y", false);
        check("/w/*a*b*", "/w/*c*", true);
        check("/w/ä?", "/w/?ö", true);
    }

    #[test]
    fn what_would_take_too_long_counts_as_overlapping() {
        let (one, other) = (format!("/{}a", "*b".repeat(400)), format!("/{}c", "*d".repeat(400)));
        assert!(!overlap(&one, &other, &mut 10_000_000));
        let mut few = 100_000;
        assert!(overlap(&one, &other, &mut few));
        assert_eq!(few, 100_000 - one.len() - 1);
        assert!(overlap("/a", "/b", &mut 2));
        assert!(!overlap("/a", "/b", &mut 3));
    }

    #[test]
    fn globs_have_three_signs_and_no_others() {
        let long = "a".repeat(1_025);
        let faults = ["/w/**/a*.?s", "/w/{a,b}", "/w/[ab]", "/w/a**", "/w/\\*", "/w/!a", &long]
            .map(|it| check_glob(it).err());
        let syntax = Some(GlobFault::Syntax);
        let stars = Some(GlobFault::Stars);
        assert_eq!(faults, [None, syntax, syntax, stars, syntax, syntax, Some(GlobFault::TooLong)]);
    }
}
