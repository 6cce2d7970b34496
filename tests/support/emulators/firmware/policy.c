/* The body of the policy, in a translation unit of its own as a linker map would show it. */
#define POLICY_IMPLEMENTATION
#include "policy.h"
