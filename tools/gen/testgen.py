# SPDX-License-Identifier: Apache-2.0
"""Writes test helpers from the schema: random contents for every message, and comparison.

tests/lib/wire/fill_gen.[ch] hold, for every message struct, fill_<struct>() and same_<struct>() and
one table row.  Only the fields that a version has are filled, so that a round trip at that version
must give back the same struct; all the rest has to come back as the schema's default.
Every value can also be made a function of its field's path, see tests/lib/wire/rnd.h.
"""

import schema

RANDOM = {"bool": "rnd_bool(r)", "int8": "(int8_t)rnd(r)", "int16": "(int16_t)rnd(r)",
          "uint16": "(uint16_t)rnd(r)", "int32": "(int32_t)rnd(r)", "int64": "(int64_t)rnd(r)",
          "float64": "(double)(int32_t)rnd(r)"}


def version_test(versions, valid):
    parts = []
    if versions[0] > valid[0]:
        parts.append(f"version >= {versions[0]}")
    if versions[1] < valid[1]:
        parts.append(f"version <= {versions[1]}")
    return " && ".join(parts)


def null_test(f, valid):
    """C expression: may the field be null at @version?"""
    if not f.nullable:
        return "false"
    return version_test(f.nullable, valid) or "true"


def fill_field(f, valid, path):
    null = null_test(f, valid)
    path = f"{path}.{f.name}" if path else f.name
    name = [f"rnd_field(r, \"{path.replace('_', '')}\");"]
    return name + fill_value(f, null)


def fill_value(f, null):
    if f.array:
        lines = [f"m->{f.name}_count = rnd_count(r, {null});",
                 f"m->{f.name} = rnd_array(arena, m->{f.name}_count, sizeof(*m->{f.name}));",
                 f"for (int32_t i = 0; i < m->{f.name}_count; i++)"]
        if f.type == "struct":
            return lines + [f"fill_{f.struct.name[3:]}(&m->{f.name}[i], r, arena, version);"]
        if f.type == "string":
            return lines + [f"m->{f.name}[i] = rnd_str(r, arena, false);"]
        return lines + [f"m->{f.name}[i] = {RANDOM[f.type]};"]
    if f.type == "struct":
        if not f.nullable:
            return [f"fill_{f.struct.name[3:]}(&m->{f.name}, r, arena, version);"]
        return ["if (rnd_present(r)) {",
                f"m->{f.name} = sl_arena_alloc(arena, sizeof(*m->{f.name}));",
                f"fill_{f.struct.name[3:]}(m->{f.name}, r, arena, version);", "}"]
    if f.type in ("string", "bytes", "records"):
        name = {"string": "str"}.get(f.type, f.type)
        return [f"m->{f.name} = rnd_{name}(r, arena, {null});"]
    if f.type == "uuid":
        return [f"m->{f.name} = rnd_uuid(r);"]
    return [f"m->{f.name} = {RANDOM[f.type]};"]


def guard(test, lines):
    return ["if (" + test + ") {", *lines, "}"] if test else lines


def emit_fill(s, valid, path):
    out = [f"static void fill_{s.name[3:]}(struct {s.name} *m, struct rnd *r, struct sl_arena *arena, "
           "int16_t version)", "{", "(void)r;", "(void)arena;", "(void)version;", f"{s.name}_init(m);"]
    for f in s.fields:
        out += guard(version_test(f.versions, valid), fill_field(f, valid, path))
    return out + ["}", ""]


def same_field(f):
    a, b = f"a->{f.name}", f"b->{f.name}"
    if f.array:
        lines = [f"if ({a}_count != {b}_count)", f"return differs(\"{f.name}_count\");",
                 f"for (int32_t i = 0; i < {a}_count; i++) {{"]
        if f.type == "struct":
            lines.append(f"if (!same_{f.struct.name[3:]}(&{a}[i], &{b}[i]))")
        elif f.type == "string":
            lines.append(f"if (!sl_str_eq({a}[i], {b}[i]))")
        else:
            lines.append(f"if ({a}[i] != {b}[i])")
        return lines + [f"return differs(\"{f.name}\");", "}"]
    if f.type == "struct":
        if f.nullable:
            test = f"!{a} != !{b} || ({a} && !same_{f.struct.name[3:]}({a}, {b}))"
        else:
            test = f"!same_{f.struct.name[3:]}(&{a}, &{b})"
    elif f.type == "string":
        test = f"!sl_str_eq({a}, {b})"
    elif f.type in ("bytes", "records"):
        test = f"!same_bytes({a}.p, {a}.len, {b}.p, {b}.len)"
    elif f.type == "uuid":
        test = f"!sl_uuid_eq(&{a}, &{b})"
    else:
        test = f"{a} != {b}"
    return [f"if ({test})", f"return differs(\"{f.name}\");"]


def emit_same(s):
    out = [f"static bool same_{s.name[3:]}(const struct {s.name} *a, const struct {s.name} *b)", "{",
           "(void)a;", "(void)b;"]
    for f in s.fields:
        out += same_field(f)
    return out + ["return true;", "}", ""]


def emit_row(m, root):
    n = root.name[3:]
    flexible = m.flexible if m.flexible is not None else "INT16_MAX"
    return [
        f"static void init_any_{n}(void *m)", "{", f"{root.name}_init(m);", "}", "",
        f"static void fill_any_{n}(void *m, struct rnd *r, struct sl_arena *arena, int16_t version)", "{",
        f"fill_{n}(m, r, arena, version);", "}", "",
        f"static bool same_any_{n}(const void *a, const void *b)", "{", f"return same_{n}(a, b);", "}", "",
        f"static int decode_any_{n}(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version)",
        "{", f"return {root.name}_decode(m, c, arena, version);", "}", "",
        f"static void encode_any_{n}(const void *m, struct sl_buf *b, int16_t version)", "{",
        f"{root.name}_encode(m, b, version);", "}", "",
        f"const struct fill_message fill_message_{n} = {{",
        f"\"{n}\", {m.valid[0]}, {m.valid[1]}, {flexible}, sizeof(struct {root.name}), "
        f"init_any_{n}, fill_any_{n}, same_any_{n}, decode_any_{n}, encode_any_{n},", "};", "",
    ]


def paths(struct, path):
    """As schema.walk(), with the path of fields that leads to each struct."""
    for f in struct.fields:
        if f.struct:
            yield from paths(f.struct, f"{path}.{f.name}" if path else f.name)
    yield struct, path


def emit_message(m):
    out = []
    for root in m.sections.values():
        for s, path in paths(root, ""):
            out += emit_fill(s, m.valid, path)
        for s in schema.walk(root):
            out += emit_same(s)
        out += emit_row(m, root)
    return out


HEADER = """#ifndef TESTS_WIRE_FILL_GEN_H
#define TESTS_WIRE_FILL_GEN_H

#include "sluice/wire/codec.h"

struct rnd;

/* One message, for tests that do the same to all of them. */
struct fill_message {
const char *name;
int16_t min;
int16_t max;
int16_t flexible_from;
size_t size;
void (*init)(void *m);
void (*fill)(void *m, struct rnd *r, struct sl_arena *arena, int16_t version);
bool (*same)(const void *a, const void *b);
int (*decode)(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version);
void (*encode)(const void *m, struct sl_buf *b, int16_t version);
};

"""

# Unformatted lines of one file; formatted it stays well below what a file may have.
PART_LINES = 640


def all_files(msgs, head):
    top = head("the schemas in lib/wire/schema")
    parts = []
    for m in msgs:
        text = emit_message(m)
        if not parts or len(parts[-1][1]) + len(text) > PART_LINES:
            parts.append(([], []))
        parts[-1][0].append(m.base)
        parts[-1][1].extend(text)
    files = {}
    for n, (bases, text) in enumerate(parts, 1):
        out = [top, '#include "fill_gen.h"', '#include "rnd.h"']
        out += [f'#include "sluice/wire/{b}_gen.h"' for b in sorted(bases)]
        files[f"tests/lib/wire/fill_{n}_gen.c"] = "\n".join(out + [""] + text).rstrip() + "\n"
    names = [root.name[3:] for m in msgs for root in m.sections.values()]
    header = [top, HEADER.rstrip(), ""]
    header += [f"extern const struct fill_message fill_message_{n};" for n in names]
    header += ["", "/* All of them. */", f"#define FILL_MESSAGES_COUNT {len(names)}",
               "extern const struct fill_message *const fill_messages[FILL_MESSAGES_COUNT];", "",
               "#endif", ""]
    files["tests/lib/wire/fill_gen.h"] = "\n".join(header)
    table = [top, '#include "fill_gen.h"', "",
             "const struct fill_message *const fill_messages[FILL_MESSAGES_COUNT] = {"]
    table += [f"&fill_message_{n}," for n in names] + ["};", ""]
    files["tests/lib/wire/fill_gen.c"] = "\n".join(table)
    return files
