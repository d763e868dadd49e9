# SPDX-License-Identifier: Apache-2.0
src-y := cursor.c apis.c errmap.c batch.c validate.c record.c marker.c compress.c
# Whatever the schemas gave; make gen-check finds files that lost their schema.
src-y += $(sort $(notdir $(wildcard lib/wire/*_gen.c)))
