//! Lines of heads and trailers, byte by byte (RFC 9110, 5.1 and 5.5; RFC 9112, 2.2 and 5).

/// What may stand in names and methods (RFC 9110, 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric()
            || matches!(
                character,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether this is a name: not empty, and of token characters only.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// Whether no control characters are in it, but tabs. Written so that it is done for many bytes at once.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |fine, byte| {
        fine & (((*byte >= b' ') & (*byte != 0x7f)) | (*byte == b'\t'))
    })
}

/// Whether this can be a part of a URI: visible ASCII, and no fragment (RFC 9112, 3.2).
pub(super) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().fold(true, |fine, byte| {
            fine & (*byte > b' ') & (*byte < 0x7f) & (*byte != b'#')
        })
}

/// A line without its LF as a name and a value.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    // Where the name ends is looked for only once: what ends it must be the colon.
    let end = line.iter().position(|byte| !TOKEN[usize::from(*byte)]);
    let (name, value) = line.split_at(end.ok_or("A header line has no colon")?);
    if name.is_empty() || !value.starts_with(b":") {
        // Among others: a folded line, and a space before the colon.
        return Err("A header name is not valid");
    }
    if !is_text(value) {
        return Err("A header value is not valid");
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// A line that ended with CR LF, without both.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn ended(line: &[u8]) -> Result<&[u8], &'static str> {
    line.strip_suffix(b"\r").ok_or("A line ends without CR LF")
}
