/* What of rcl, rclc and std_msgs the example uses. */
#ifndef STUB_H
#define STUB_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t rcl_ret_t;
#define RCL_RET_OK 0
#define RCL_MS_TO_NS(ms) ((int64_t)(ms) * 1000000)
typedef struct { int unused; } rcl_allocator_t;
typedef struct { int unused; } rcl_context_t;
typedef struct { int unused; } rcl_node_t;
typedef struct { const char *topic; } rcl_publisher_t;
typedef struct { const char *topic; } rcl_subscription_t;
typedef struct rcl_timer_s rcl_timer_t;
typedef void (*rcl_timer_callback_t)(rcl_timer_t *, int64_t);
struct rcl_timer_s { int64_t period; rcl_timer_callback_t callback; };
typedef struct { rcl_context_t context; } rclc_support_t;
typedef void (*rclc_subscription_callback_t)(const void *);
typedef enum { ON_NEW_DATA, ALWAYS } rclc_executor_handle_invocation_t;
typedef struct {
    rcl_timer_t *timer;
    void *message;
    rclc_subscription_callback_t callback;
} rclc_executor_t;
typedef struct { const char *name; } rosidl_message_type_support_t;
typedef struct { int unused; } rmw_publisher_allocation_t;

rcl_allocator_t rcl_get_default_allocator(void);
rcl_ret_t rcl_publish(const rcl_publisher_t *publisher, const void *message,
                      rmw_publisher_allocation_t *allocation);
rcl_ret_t rclc_support_init(rclc_support_t *support, int argc, char const *const *argv,
                            rcl_allocator_t *allocator);
rcl_ret_t rclc_node_init_default(rcl_node_t *node, const char *name, const char *name_space,
                                 rclc_support_t *support);
rcl_ret_t rclc_publisher_init_default(rcl_publisher_t *publisher, const rcl_node_t *node,
                                      const rosidl_message_type_support_t *type,
                                      const char *topic);
rcl_ret_t rclc_subscription_init_default(rcl_subscription_t *subscription, rcl_node_t *node,
                                         const rosidl_message_type_support_t *type,
                                         const char *topic);
rcl_ret_t rclc_timer_init_default(rcl_timer_t *timer, rclc_support_t *support,
                                  const uint64_t period, const rcl_timer_callback_t callback);
rcl_ret_t rclc_executor_init(rclc_executor_t *executor, rcl_context_t *context,
                             const size_t handles, const rcl_allocator_t *allocator);
rcl_ret_t rclc_executor_add_timer(rclc_executor_t *executor, rcl_timer_t *timer);
rcl_ret_t rclc_executor_add_subscription(rclc_executor_t *executor,
                                         rcl_subscription_t *subscription, void *message,
                                         rclc_subscription_callback_t callback,
                                         rclc_executor_handle_invocation_t invocation);
rcl_ret_t rclc_executor_spin_some(rclc_executor_t *executor, const uint64_t timeout);

typedef struct { float data; } std_msgs__msg__Float32;
typedef struct { float *data; size_t size, capacity; } rosidl_runtime_c__float__Sequence;
typedef struct { int unused; } std_msgs__msg__MultiArrayLayout;
typedef struct {
    std_msgs__msg__MultiArrayLayout layout;
    rosidl_runtime_c__float__Sequence data;
} std_msgs__msg__Float32MultiArray;
const rosidl_message_type_support_t *type_support(const char *name);
#define ROSIDL_GET_MSG_TYPE_SUPPORT(package, folder, name) type_support(#package "/" #name)

#endif
