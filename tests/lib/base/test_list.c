/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sluice/base/list.h"

struct item {
	int number;
	struct sl_list link;
};

static void expect_numbers(const struct sl_list *head, const int *numbers, int count)
{
	const struct sl_list *pos;
	int i = 0;

	sl_list_for_each(pos, head) {
		cr_assert(i < count);
		cr_assert(sl_list_entry(pos, struct item, link)->number == numbers[i]);
		cr_assert(pos->prev->next == pos && pos->next->prev == pos);
		i++;
	}
	cr_assert(i == count);
}

Test(list, keeps_the_order_of_pushes)
{
	struct item items[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
	struct sl_list head;

	sl_list_init(&head);
	cr_assert(sl_list_is_empty(&head));
	cr_assert(sl_list_first(&head, struct item, link) == NULL);
	sl_list_push_back(&head, &items[0].link);
	sl_list_push_back(&head, &items[1].link);
	sl_list_push_front(&head, &items[2].link);
	sl_list_push_back(&head, &items[3].link);
	expect_numbers(&head, (int[]){3, 1, 2, 4}, 4);
	cr_assert(sl_list_first(&head, struct item, link) == &items[2]);
}

Test(list, removing_twice_is_harmless)
{
	struct item items[3] = {{1, {0}}, {2, {0}}, {3, {0}}};
	struct sl_list head;

	sl_list_init(&head);
	for (int i = 0; i < 3; i++)
		sl_list_push_back(&head, &items[i].link);
	sl_list_del(&items[1].link);
	sl_list_del(&items[1].link);
	cr_assert(sl_list_is_empty(&items[1].link));
	expect_numbers(&head, (int[]){1, 3}, 2);
	sl_list_push_front(&head, &items[1].link);
	expect_numbers(&head, (int[]){2, 1, 3}, 3);
}

Test(list, safe_loop_may_remove_the_current_entry)
{
	struct item items[5];
	struct sl_list *pos;
	struct sl_list *tmp;
	struct sl_list head;

	sl_list_init(&head);
	for (int i = 0; i < 5; i++) {
		items[i].number = i;
		sl_list_push_back(&head, &items[i].link);
	}
	sl_list_for_each_safe(pos, tmp, &head) {
		if (sl_list_entry(pos, struct item, link)->number % 2 == 0)
			sl_list_del(pos);
	}
	expect_numbers(&head, (int[]){1, 3}, 2);
}
