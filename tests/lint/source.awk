# Reads C files: include layers, system headers, banned calls, comments, long files.
# Usage: awk -f source.awk LAYERS HEADERS FILE...     prints "path:line: what", warnings as "warning: ..."

function folder_of(path)
{
    return path ~ /\// ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : ""
}

function stem_of(path)
{
    sub(/\.[^.\/]*$/, "", path)
    return path
}

# The folder whose row speaks for this one: its own, or the nearest above.
function row_of(folder)
{
    while (folder != "" && !(folder in may))
        folder = folder_of(folder)
    return folder
}

function is_within(path, place)
{
    return path == place || index(path, place "/") == 1
}

function listed(path, list,    parts, count, i)
{
    count = split(list, parts, " ")
    for (i = 1; i <= count; i++)
        if (is_within(path, parts[i]))
            return 1
    return 0
}

function complain(text)
{
    print FILENAME ":" FNR ": " text
}

function check_own_include(target,    folder, own, row)
{
    if (target !~ /\//) {
        complain("include from the root: \"" folder_of(FILENAME) "/" target "\"")
        return
    }
    if (target ~ /\.c$/)
        complain("a .c file is linked, not included")
    if (FILENAME ~ /^tests\//)
        return
    folder = folder_of(target)
    if (folder ~ /^tests(\/|$)/)
        complain("only tests include from tests/")
    own = folder_of(FILENAME)
    row = row_of(own)
    if (folder == own || row_of(folder) == row && row != "" && folder != "proto")
        return
    if (listed(folder, may[row]) || (stem_of(FILENAME) in may && listed(folder, may[stem_of(FILENAME)])))
        return
    complain(own " may not include " folder " (tests/lint/layers.txt)")
}

function check_system_include(target,    i)
{
    for (i = 1; i <= header_count; i++)
        if (index(target, header[i]) == 1 && !listed(stem_of(FILENAME), header_places[i]))
            complain("<" target "> is only for " header_places[i] " (tests/lint/headers.txt)")
    if (FILENAME ~ /^worker\/examples\// && target ~ /^common|^server|^worker/)
        complain("an example sees <paramd/...> only")
}

# The line without comments and with empty string literals; in_comment goes on to the next line.
function strip(line,    out, at, mark)
{
    out = ""
    for (;;) {
        if (in_comment) {
            at = index(line, "*/")
            if (!at)
                return out
            line = substr(line, at + 2)
            in_comment = 0
        }
        if (!match(line, /["']|\/\*|\/\//))
            return out line
        mark = substr(line, RSTART, 1)
        out = out substr(line, 1, RSTART - 1)
        if (substr(line, RSTART, 2) == "/*") {
            in_comment = 1
            line = substr(line, RSTART + 2)
        } else if (substr(line, RSTART, 2) == "//") {
            complain("comments are /* */")
            return out
        } else {
            line = substr(line, RSTART + 1)
            if (mark == "\"" ? match(line, /^([^"\\]|\\.)*"/) : match(line, /^([^'\\]|\\.)*'/))
                line = substr(line, RLENGTH + 1)
            else
                return out
            out = out mark mark
        }
    }
}

function calls(code, names)
{
    return match(code, "(^|[^A-Za-z0-9_.>])(" names ")[ ]*\\(")
}

function check_calls(code)
{
    if ($0 ~ /\/\* lint: /)
        return
    if (calls(code, "strcpy|strcat|sprintf|vsprintf|gets|strtok|tmpnam|alloca"))
        complain("a banned call: it writes without a bound or keeps hidden state")
    if (calls(code, "atoi|atol|atoll|atof|rand|srand|random"))
        complain("a banned call: no errors (atoi), or another generator than common/base/rng.h")
    if (calls(code, "time|gettimeofday|clock_gettime|ftime") && FILENAME !~ /^tests\// &&
        FILENAME !~ /^common\/base\/(clock|log)\.c$/)
        complain("time comes from common/base/clock.h")
    if (calls(code, "malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|posix_memalign") &&
        FILENAME != "common/base/alloc.c" && FILENAME !~ /^(tests|worker\/examples)\//)
        complain("memory comes from common/base/alloc.h (or say why: /* lint: ... */)")
    if (code ~ /^ *typedef / && code !~ /\(/ && FILENAME != "worker/client/ps.h")
        complain("typedef only for function pointers")
}

function finish_file()
{
    if (path != "" && last_line > 800)
        print "warning: " path " has " last_line " lines: would two files be easier to live in?"
}

FILENAME == ARGV[1] || FILENAME == ARGV[2] {
    if ($0 ~ /^#/ || NF == 0)
        next
    name = $1
    sub(/:$/, "", name)
    $1 = ""
    if (FILENAME == ARGV[1]) {
        may[name] = $0
    } else {
        header[++header_count] = name
        header_places[header_count] = $0
    }
    next
}

FNR == 1 {
    finish_file()
    path = FILENAME
    in_comment = 0
    function_line = 0
    if (FILENAME ~ /\.h$/ && $0 !~ /^\/\*/)
        complain("a header's first line says what it is for")
}
{ last_line = FNR }

/^[ \t]*#[ \t]*include[ \t]*"/ {
    target = $0
    sub(/^[^"]*"/, "", target)
    sub(/".*/, "", target)
    check_own_include(target)
    next
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    target = $0
    sub(/^[^<]*</, "", target)
    sub(/>.*/, "", target)
    check_system_include(target)
    next
}
{
    code = strip($0)
    if (code !~ /^[ \t]*$/)
        check_calls(code)
    if (match($0, /(^|[^A-Za-z0-9_])(TODO|FIXME|XXX|HACK)([^A-Za-z0-9_]|$)/))
        complain("finish it, or file an issue")
    if ($0 ~ /[ \t]$/)
        complain("space at the end of the line")
    if ($0 ~ /\t/)
        complain("a tab")
    if (code ~ /^\{/)
        function_line = FNR
    if (code ~ /^\}/ && function_line) {
        if (FNR - function_line > 70)
            print "warning: " FILENAME ":" function_line ": a function of " FNR - function_line " lines"
        function_line = 0
    }
}
END { finish_file() }
