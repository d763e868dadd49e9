# SPDX-License-Identifier: Apache-2.0
src-y := main.c client.c command.c commands.c parse.c table.c text.c run.c show.c show_groups.c show_txns.c show_lanes.c help.c complete.c
