/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_BODY_H
#define AWS_BODY_H

/* What a JSON reply says: members that are texts, on top or in the objects of a list. */

struct aws_body;

/* NULL where the text is no JSON object. aws_body_free(NULL) is fine. */
struct aws_body *aws_body_parse(const char *text);
void aws_body_free(struct aws_body *b);

/* How many there are in the list; 0 where it is none. */
int aws_body_count(const struct aws_body *b, const char *list);

/* The member of the list's i-th object (list NULL: of the reply itself); "" where there is none. Lives as long as b. */
const char *aws_body_text(
    const struct aws_body *b, const char *list, int i, const char *member);

#endif
