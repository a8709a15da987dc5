# Keeps comments within 100 columns, which clang-format would do by breaking the code beside them.
#   - a comment behind code, on a line past 100 columns, goes above that line;
#   - a comment of its own that is too long is wrapped; what is over goes to the beginning of the next line
#     where that is plain text too, else to a line of its own.

function indent_of(line)
{
    match(line, /^ */)
    return substr(line, 1, RLENGTH)
}

# Splits text at the last space that lets prefix + text fit; sets `over` to what is left.
function fitting(prefix, text, room,    at)
{
    over = ""
    if (length(prefix) + length(text) <= room)
        return text
    at = room - length(prefix) + 1
    while (at > 1 && substr(text, at, 1) != " ")
        at--
    if (at <= 1)
        at = index(text, " ")
    if (!at)
        return text
    over = substr(text, at + 1)
    return substr(text, 1, at - 1)
}

function put_one_line_comment(line,    indent, text, prefix)
{
    indent = indent_of(line)
    text = substr(line, length(indent) + 4)
    prefix = indent "/* "
    while (length(prefix) + length(text) > 100) {
        text = fitting(prefix, text, 100)
        if (over == "")
            break
        print prefix text
        text = over
        prefix = indent " * "
    }
    print prefix text
}

# A line of a block comment, " * text"; `held` is what the line before had over.
function put_block_line(line,    indent, text, prefix, tail)
{
    indent = indent_of(line)
    prefix = indent "* "
    text = substr(line, length(prefix) + 1)
    if (line ~ /^ *\*\/$/ || line ~ /^ *\*$/ || text ~ /^ / || text ~ /^[-|*]/) {
        if (held != "")
            put_held(prefix)
        if (text !~ /^ / || length(line) <= 100) {
            print line
            return
        }
        match(text, /^ */)
        prefix = prefix substr(text, 1, RLENGTH)
        text = substr(text, RLENGTH + 1)
    }
    if (held != "") {
        text = held " " text
        held = ""
    }
    text = fitting(prefix, text, 100)
    print prefix text
    held = over
    if (line ~ /\*\/$/ && held != "")
        put_held(prefix)
}

function put_held(prefix,    text)
{
    while (held != "") {
        text = fitting(prefix, held, 100)
        print prefix text
        held = over
    }
}

in_block {
    put_block_line($0)
    if ($0 ~ /\*\/$/)
        in_block = 0
    next
}
/^ *\/\*([^*]|\*[^\/])*$/ { # begins a block
    in_block = 1
    held = ""
    indent = indent_of($0)
    text = substr($0, length(indent) + 4)
    if (text != "" && length($0) > 100) {
        text = fitting(indent "/* ", text, 100)
        print indent "/* " text
        held = over
    } else {
        print
    }
    next
}
/^ *\/\* .*\*\/$/ && length($0) > 100 && !/lint:/ {
    put_one_line_comment($0)
    next
}
length($0) > 100 && !/\\$/ && !/lint:/ && match($0, /[^ ] *\/\*([^*]|\*[^\/])*\*\/$/) {
    code = substr($0, 1, RSTART)
    comment = substr($0, RSTART + 1)
    sub(/^ */, "", comment)
    put_one_line_comment(indent_of(code) comment)
    print code
    next
}
{ print }
