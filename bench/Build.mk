# SPDX-License-Identifier: Apache-2.0
src-y := main.c client.c profiles.c limits.c
