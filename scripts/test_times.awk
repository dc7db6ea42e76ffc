# Sums the seconds of a report in JUnit's format, as cargo-nextest writes it: of each binary of
# tests, and of each module of the largest, `it`. Prints seconds and name, a tab between.

function attribute(name) {
    if (!match($0, " " name "=\"[^\"]*\"")) return ""
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
}

/<testcase / {
    group = attribute("classname")
    if (!sub(/^[^:]*::/, "", group)) group = "library"
    if (sub(/^bin\//, "", group)) group = "command line"
    if (group == "it") {
        split(attribute("name"), path, "::")
        group = "it " path[1]
    }
    seconds[group] += attribute("time")
}

END { for (group in seconds) printf "%.1f\t%s\n", seconds[group], group }
