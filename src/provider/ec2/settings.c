/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "provider/ec2/ec2.h"

#define TEXTS 5 /* of an image's source */

static void
texts_of(struct ec2_image_source *s, char **ret[TEXTS])
{
	ret[0] = &s->image;
	ret[1] = &s->owner;
	ret[2] = &s->name;
	ret[3] = &s->architecture;
	ret[4] = &s->login;
}

void
ec2_settings_copy(struct ec2_settings *to, const struct ec2_settings *from)
{
	char **a[TEXTS], **b[TEXTS];

	*to = (struct ec2_settings){
	    .region = xstrdup_null(from->region),
	    .endpoint = xstrdup_null(from->endpoint),
	    .profile = xstrdup_null(from->profile),
	    .events_queue = xstrdup_null(from->events_queue),
	    .speed = from->speed,
	    .n_images = from->n_images,
	};
	to->efs_file_system = xstrdup_null(from->efs_file_system);
	to->n_efs_groups = from->n_efs_groups;
	for (int i = 0; i < from->n_efs_groups; i++)
		to->efs_groups[i] = xstrdup(from->efs_groups[i]);
	for (int i = 0; i < from->n_images; i++) {
		texts_of(&to->images[i], a);
		texts_of((struct ec2_image_source *)&from->images[i], b);
		for (int k = 0; k < TEXTS; k++)
			*a[k] = xstrdup_null(*b[k]);
	}
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool
ec2_settings_equal(const struct ec2_settings *a, const struct ec2_settings *b)
{
	char **x[TEXTS], **y[TEXTS];

	if (!same(a->region, b->region) || !same(a->endpoint, b->endpoint) ||
	    !same(a->profile, b->profile) || !same(a->events_queue, b->events_queue) ||
	    a->speed != b->speed || a->n_images != b->n_images)
		return false;
	if (!same(a->efs_file_system, b->efs_file_system) ||
	    a->n_efs_groups != b->n_efs_groups)
		return false;
	for (int i = 0; i < a->n_efs_groups; i++)
		if (!same(a->efs_groups[i], b->efs_groups[i]))
			return false;
	for (int i = 0; i < a->n_images; i++) {
		texts_of((struct ec2_image_source *)&a->images[i], x);
		texts_of((struct ec2_image_source *)&b->images[i], y);
		for (int k = 0; k < TEXTS; k++)
			if (!same(*x[k], *y[k]))
				return false;
	}
	return true;
}

void
ec2_settings_fini(struct ec2_settings *s)
{
	char **t[TEXTS];

	free(s->region);
	free(s->endpoint);
	free(s->profile);
	free(s->events_queue);
	free(s->efs_file_system);
	for (int i = 0; i < s->n_efs_groups; i++)
		free(s->efs_groups[i]);
	for (int i = 0; i < s->n_images; i++) {
		texts_of(&s->images[i], t);
		for (int k = 0; k < TEXTS; k++)
			free(*t[k]);
	}
	*s = (struct ec2_settings){0};
}

/* Owners: "amazon" is an alias that EC2 knows; Debian's account is on its wiki, "Cloud/AmazonEC2Image". */
static const struct ec2_image_source built_in[] = {
    {"amazon-linux-2023", "amazon", "al2023-ami-2023.*-x86_64", "x86_64", "ec2-user"},
    {"amazon-linux-2023-arm64", "amazon", "al2023-ami-2023.*-arm64", "arm64", "ec2-user"},
    {"debian", "136693071363", "debian-12-amd64-*", "x86_64", "admin"},
    {"debian-arm64", "136693071363", "debian-12-arm64-*", "arm64", "admin"},
};

const struct ec2_image_source *
ec2_image_source(const struct ec2_settings *s, const char *image)
{
	for (int i = 0; i < s->n_images; i++)
		if (strcmp(s->images[i].image, image) == 0)
			return &s->images[i];
	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
		if (strcmp(built_in[i].image, image) == 0)
			return &built_in[i];
	return NULL;
}

const char *
ec2_image_login(const struct ec2_settings *s, const char *image)
{
	const struct ec2_image_source *source = ec2_image_source(s, image);

	if (source && source->login)
		return source->login;
	return strncmp(image, "debian", 6) == 0 ? "admin" : "ec2-user";
}
