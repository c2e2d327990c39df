/* Route: a profile or a merge as a file: folded stacks, pprof, speedscope, or JSON. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/profile/folded.h"
#include "handlers.h"
#include "pprof_out.h"
#include "selection.h"
#include "speedscope.h"

/* The tree with its names in it, as the agent's own writers take it. 0 or SI_E*. */
static int name_tree(si__request *request, const si__tree *tree, si__calltree **out) {
    si__calltree *named = si__calltree_new();
    uint32_t *nodes = calloc(tree->count + 1, sizeof *nodes);
    int failed = named && nodes ? SI_OK : SI_ENOMEM;
    for (size_t i = 1; i < tree->count && !failed; i++) {
        si__frame_row row = {"?", "", "", 0};
        int missing = si__read_frame(request->reader, tree->branches[i].frame, &row);
        if (missing) row = (si__frame_row){"?", "", "", 0};
        uint32_t frame = si__calltree_frame(named, row.function, row.file, row.line, row.module);
        nodes[i] = frame == UINT32_MAX ? UINT32_MAX : si__calltree_child(named, nodes[tree->branches[i].parent], frame);
        if (nodes[i] == UINT32_MAX)
            failed = SI_ENOMEM;
        else
            si__calltree_add(named, nodes[i], tree->branches[i].self, tree->branches[i].self_count);
    }
    free(nodes);
    if (failed)
        si__calltree_free(named);
    else
        *out = named;
    return failed;
}

/* `outer;...;leaf COUNT`, as `si run --folded` writes it: microseconds when values are nanoseconds. */
static int export_folded(si__request *request, const si__calltree *named, const char *unit) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    int failed = out ? si__folded_write(named, strcmp(unit, "ns") ? 1 : 1000, out) : SI_ENOMEM;
    if (out && fclose(out) != 0 && !failed) failed = SI_ENOMEM;
    if (failed)
        free(text);
    else
        si__answer_take(request, "text/plain; charset=utf-8", text, length);
    return failed;
}

static int export_pprof(si__request *request, const si__tree *tree, const si__calltree *named, const char *type,
                        const char *unit) {
    char *out = NULL;
    size_t length = 0;
    si__pprof_about about = {type, unit, tree->merge.start_ms, tree->merge.duration_ns};
    int failed = si__pprof_out(named, &about, &out, &length);
    if (!failed) si__answer_take(request, "application/octet-stream", out, length);
    return failed;
}

/* Appends letters, digits, '-' and '.' of a name; all else becomes '_'. */
static void append_safe(char *out, size_t bytes, const char *name) {
    size_t used = strlen(out);
    for (; *name && used + 1 < bytes; name++) {
        char c = *name;
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        out[used++] = plain ? c : '_';
    }
    out[used] = '\0';
}

static void name_file(si__request *request, const char *type, const char *ending) {
    char name[160] = "";
    append_safe(name, 100, si__request_argument(request, "app", ""));
    append_safe(name, 101, "-");
    append_safe(name, sizeof name, type);
    snprintf(request->disposition, sizeof request->disposition, "attachment; filename=\"%s.%s\"", name, ending);
}

typedef enum form { FOLDED, PPROF, SPEEDSCOPE, JSON, FORMS } form;
static const char *const forms[] = {"folded", "pprof", "speedscope", "json"};
static const char *const endings[] = {"folded", "pb.gz", "speedscope.json", "json"};

static int export_speedscope(si__request *request, const si__calltree *named, const char *type, const char *unit) {
    si__json_writer json = {0};
    int failed = si__speedscope_write(&json, named, si__request_argument(request, "app", ""), type, unit);
    if (failed)
        si__json_discard(&json);
    else
        si__answer_json(request, 200, &json);
    return failed;
}

static void export_file(si__request *request, const si__selection *selection, form as) {
    si__tree tree = {0};
    si__calltree *named = NULL;
    const char *type = si__selection_type(selection);
    char unit[32];
    if (si__selection_tree(request, selection, &tree)) return;
    snprintf(unit, sizeof unit, "%s", si__type_unit(request->reader, selection->range.app, type));
    int failed = name_tree(request, &tree, &named);
    if (!failed && as == FOLDED) failed = export_folded(request, named, unit);
    if (!failed && as == PPROF) failed = export_pprof(request, &tree, named, type, unit);
    if (!failed && as == SPEEDSCOPE) failed = export_speedscope(request, named, type, unit);
    if (failed) si__answer_failure(request, failed);
    si__calltree_free(named);
    si__tree_clear(&tree);
}

void si__handle_export(si__request *request) {
    si__selection selection;
    const char *format = si__request_argument(request, "format", "folded");
    form as = FOLDED;
    while (as < FORMS && strcmp(format, forms[as]) != 0) as++;
    if (as == FORMS) {
        si__answer_error(request, 400, "invalid", "A format is folded, pprof, speedscope or json.", "format");
        return;
    }
    if (si__selection_of(request, &selection)) return;
    if (as == JSON) /* the page's own form, to keep */
        si__handle_tree(request);
    else
        export_file(request, &selection, as);
    if (request->status == 200) name_file(request, si__selection_type(&selection), endings[as]);
}
