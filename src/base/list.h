/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

/* Intrusive doubly linked list. A link that is on no list points to itself. */

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev;
	struct list *next;
};

static inline void
list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool
list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void
list_insert_after(struct list *at, struct list *l)
{
	l->prev = at;
	l->next = at->next;
	at->next->prev = l;
	at->next = l;
}

static inline void
list_push_back(struct list *head, struct list *l)
{
	list_insert_after(head->prev, l);
}

static inline void
list_push_front(struct list *head, struct list *l)
{
	list_insert_after(head, l);
}

/* Also for a link that is on no list. */
static inline void
list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

#define list_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define list_for_each(pos, head, member)                                                 \
	for (pos = list_entry((head)->next, __typeof__(*pos), member);                   \
	     &pos->member != (head);                                                     \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))
#define list_for_each_safe(pos, tmp, head, member)                                       \
	for (pos = list_entry((head)->next, __typeof__(*pos), member),                   \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member);                \
	     &pos->member != (head);                                                     \
	     pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))

#endif
