//! Pseudo-header fields of a request, looked at before the library: it takes them in any place and number, and the last of
//! each counts. Others would take the first (RFC 9114, 4.3).

/// Why a field section is not passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Pseudo-header fields of requests, one bit for each.
const AUTHORITY: u8 = 1;
const METHOD: u8 = 2;
const PATH: u8 = 4;
const SCHEME: u8 = 8;
const PROTOCOL: u8 = 16;

/// Their names, and as Huffman's code writes them (RFC 7541, B).
const NAMES: [(&[u8], &[u8], u8); 5] = [
    (
        b":authority",
        b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f",
        AUTHORITY,
    ),
    (b":method", b"\xb9\x49\x53\x39\xe4", METHOD),
    (b":path", b"\xb9\x58\xd3\x3f", PATH),
    (b":scheme", b"\xb8\x82\x4e\x5a\x4b", SCHEME),
    (b":protocol", b"\xb9\x5d\x87\x49\xc8\x7a\x3f", PROTOCOL),
];
/// How a colon begins in Huffman's code: seven bits.
const COLON: u8 = 0b101_1100;

/// Looks at a whole encoded field section (RFC 9204, 4.5). What is wrong with the encoding itself, the library finds.
///
/// # Errors
/// When a pseudo-header field comes twice, after other fields, or is none of a request.
pub(super) fn check(section: &[u8]) -> Result<(), Malformed> {
    let mut rest = section;
    // The dynamic table is empty: both are 0, or the library refuses the section.
    let prefix = integer(&mut rest, 8).and_then(|_| integer(&mut rest, 7));
    if prefix.is_none() {
        return Ok(());
    }
    let (mut seen, mut regular) = (0, false);
    while let Some(field) = next(&mut rest) {
        match field {
            Field::Regular => regular = true,
            Field::Pseudo(name) if regular || seen & name != 0 => return Err(Malformed),
            Field::Pseudo(name) => seen |= name,
            Field::Unknown => return Err(Malformed),
        }
    }
    Ok(())
}

enum Field {
    Pseudo(u8),
    /// Pseudo, and not of a request.
    Unknown,
    Regular,
}

/// The next field line. None at the end, and where the encoding is not one of the static table's.
fn next(rest: &mut &[u8]) -> Option<Field> {
    let first = *rest.first()?;
    let is_static = |bit: u8| first & bit != 0;
    let field = if first & 0x80 != 0 {
        // Indexed
        let index = integer(rest, 6)?;
        return is_static(0x40).then(|| by_index(index));
    } else if first & 0x40 != 0 {
        // With the name of an index
        let index = integer(rest, 4)?;
        is_static(0x10).then(|| by_index(index))?
    } else if first & 0x20 != 0 {
        // With a name
        let length = integer(rest, 3)?;
        by_name(take(rest, length)?, first & 0x08 != 0)
    } else {
        return None;
    };
    let length = integer(rest, 7)?;
    take(rest, length)?;
    Some(field)
}

/// An entry of the static table (RFC 9204, A).
fn by_index(index: usize) -> Field {
    match index {
        0 => Field::Pseudo(AUTHORITY),
        1 => Field::Pseudo(PATH),
        15..=21 => Field::Pseudo(METHOD),
        22 | 23 => Field::Pseudo(SCHEME),
        24..=28 | 63..=71 => Field::Unknown,
        _ => Field::Regular,
    }
}

fn by_name(name: &[u8], is_coded: bool) -> Field {
    let begins = |byte: &u8| match is_coded {
        true => byte >> 1 == COLON,
        false => *byte == b':',
    };
    if !name.first().is_some_and(begins) {
        return Field::Regular;
    }
    let found = NAMES.iter().find(|(plain, coded, _)| match is_coded {
        true => name == *coded,
        false => name == *plain,
    });
    found.map_or(Field::Unknown, |(_, _, bit)| Field::Pseudo(*bit))
}

/// An integer in the last `bits` of the first byte and those after it (RFC 7541, 5.1). None where it does not end, or has no
/// meaning here.
fn integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut after) = rest.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in (0..28).step_by(7) {
            let (byte, further) = after.split_first()?;
            after = further;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = after;
                return Some(value);
            }
        }
        return None;
    }
    *rest = after;
    Some(value)
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section of these field lines.
    fn section(lines: &[&[u8]]) -> Vec<u8> {
        [&[&[0, 0][..]], lines].concat().concat()
    }

    const GET: &[u8] = &[0xd1];
    const HTTPS: &[u8] = &[0xd7];
    const ROOT: &[u8] = &[0xc1];
    const AUTHORITY_A: &[u8] = &[0x50, 1, b'a'];
    const ACCEPT: &[u8] = &[0xdd];
    const X_Y: &[u8] = &[0x21, b'x', 1, b'y'];

    #[test]
    fn sections_of_requests_pass() {
        let longer = [&[0x27, 0][..], b":method", b"\x04POST"].concat();
        for lines in [
            &[GET, HTTPS, AUTHORITY_A, ROOT][..],
            &[ROOT, GET, HTTPS, AUTHORITY_A, X_Y, ACCEPT, X_Y],
            &[&longer, HTTPS, AUTHORITY_A, ROOT, ACCEPT],
            &[&[0x51, 2, b'/', b'b'], GET, HTTPS, AUTHORITY_A],
            &[],
        ] {
            assert_eq!(check(&section(lines)), Ok(()), "{lines:x?}");
        }
    }

    #[test]
    fn pseudo_fields_come_once_and_first() {
        let plain = [&[0x25][..], b":path", b"\x02/b"].concat();
        let coded = [&[0x2c][..], b"\xb9\x58\xd3\x3f", b"\x02/b"].concat();
        let status = [&[0x27, 0][..], b":status", b"\x03200"].concat();
        let coded_status = [&[0x2d][..], b"\xb8\x84\x8d\x36\xa3", b"\x03200"].concat();
        for lines in [
            &[GET, HTTPS, AUTHORITY_A, ROOT, ROOT][..],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &plain],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &coded],
            &[GET, &[0xd4], HTTPS, AUTHORITY_A, ROOT],
            &[X_Y, GET, HTTPS, AUTHORITY_A, ROOT],
            &[GET, HTTPS, AUTHORITY_A, ACCEPT, ROOT],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &[0xd9]],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &[0xff, 0]],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &status],
            &[GET, HTTPS, AUTHORITY_A, ROOT, &coded_status],
        ] {
            assert_eq!(check(&section(lines)), Err(Malformed), "{lines:x?}");
        }
    }

    #[test]
    fn any_bytes_are_looked_at() {
        let whole = section(&[GET, HTTPS, AUTHORITY_A, ROOT, X_Y]);
        for end in 0..whole.len() {
            assert_eq!(check(&whole[..end]), Ok(()), "{end}");
        }
        for byte in 0..=u8::MAX {
            let _ = check(&[0, 0, byte, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        }
    }
}
