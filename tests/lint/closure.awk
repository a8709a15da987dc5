# Prints every folder that code in the folders of `want` may reach by includes, themselves too.
# Usage: awk -v want="server/store common/net" -f closure.awk layers.txt

function parent(folder)
{
    return folder ~ /\// ? substr(folder, 1, match(folder, /\/[^\/]*$/) - 1) : ""
}

function visit(folder,    row, parts, count, i)
{
    if (folder in seen)
        return
    seen[folder] = 1
    print folder
    row = folder
    while (row != "" && !(row in may))
        row = parent(row)
    count = row == "" ? 0 : split(may[row], parts, " ")
    for (i = 1; i <= count; i++)
        visit(parts[i])
    for (row in may) { # the rows of single files in this folder
        if (parent(row) == folder) {
            count = split(may[row], parts, " ")
            for (i = 1; i <= count; i++)
                visit(parts[i])
        }
    }
}

/^#/ || NF == 0 { next }
{
    name = $1
    sub(/:$/, "", name)
    $1 = ""
    may[name] = $0
}

END {
    count = split(want, wanted, " ")
    for (w = 1; w <= count; w++)
        visit(wanted[w])
}
