/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive circular doubly linked list. */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include "sluice/base/base.h"

struct sl_list {
	struct sl_list *next;
	struct sl_list *prev;
};

static inline void sl_list_init(struct sl_list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool sl_list_is_empty(const struct sl_list *l)
{
	return l->next == l;
}

static inline void sl_list_push_back(struct sl_list *head, struct sl_list *e)
{
	e->prev = head->prev;
	e->next = head;
	head->prev->next = e;
	head->prev = e;
}

static inline void sl_list_push_front(struct sl_list *head, struct sl_list *e)
{
	sl_list_push_back(head->next, e);
}

/* Leaves @e as a list of its own, so that a second removal is harmless. */
static inline void sl_list_del(struct sl_list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	sl_list_init(e);
}

/* Moves all entries of @from to the end of @head. */
static inline void sl_list_splice_back(struct sl_list *head, struct sl_list *from)
{
	if (sl_list_is_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	sl_list_init(from);
}

#define sl_list_entry(ptr, type, member) SL_CONTAINER_OF(ptr, type, member)
#define sl_list_first(head, type, member) \
	(sl_list_is_empty(head) ? NULL : sl_list_entry((head)->next, type, member))
#define sl_list_for_each(pos, head) for (pos = (head)->next; pos != (head); pos = pos->next)
#define sl_list_for_each_safe(pos, tmp, head) \
	for (pos = (head)->next, tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif
